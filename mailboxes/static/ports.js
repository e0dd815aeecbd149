// The port follows server type and security until somebody types another one.
"use strict";
(() => {
  const form = document.getElementById("profile");
  const usual = document.getElementById("usual-ports");
  if (!form || !usual) return;
  const portOf = (side) => {
    const chosen = `${form.elements.server_type.value}-${side}-${form.elements[`${side}_security`].value}`;
    const option = usual.querySelector(`[data-for="${chosen}"]`);
    return option ? option.value : "";
  };
  for (const side of ["incoming", "outgoing"]) {
    const port = form.elements[`${side}_port`];
    let former = portOf(side);
    const follow = () => {
      const usualNow = portOf(side);
      if (port.value === "" || port.value === former) port.value = usualNow;
      port.placeholder = former = usualNow;
    };
    port.placeholder = former;
    form.elements[`${side}_security`].addEventListener("change", follow);
    form.elements.server_type.addEventListener("change", follow);
  }
})();
