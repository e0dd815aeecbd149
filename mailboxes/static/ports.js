// The port follows server type and security until somebody types another one.
"use strict";
(() => {
  const form = document.getElementById("profile");
  const usual = document.getElementById("usual-ports");
  if (!form || !usual) return;
  const PROTOCOLS = { imap_smtp: { incoming: "imap", outgoing: "smtp" } };
  const portOf = (side, security) => {
    const protocol = (PROTOCOLS[form.elements.server_type.value] || {})[side];
    const option = usual.querySelector(`[data-for="${protocol}-${security}"]`);
    return option ? option.value : "";
  };
  for (const side of ["incoming", "outgoing"]) {
    const security = form.elements[`${side}_security`];
    const port = form.elements[`${side}_port`];
    let former = portOf(side, security.value);
    const follow = () => {
      const usualNow = portOf(side, security.value);
      if (port.value === "" || port.value === former) port.value = usualNow;
      port.placeholder = former = usualNow;
    };
    port.placeholder = former;
    security.addEventListener("change", follow);
    form.elements.server_type.addEventListener("change", follow);
  }
})();
