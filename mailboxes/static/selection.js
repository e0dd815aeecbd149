// The list of mailboxes without this: everything works, buttons post what is ticked. With it: the line above the
// rows counts along, commands are closed while nothing is selected, and ticks stay when the page is turned.
"use strict";
(() => {
  const form = document.getElementById("bulk");
  const says = document.getElementById("picked");
  if (!form || !says) return;
  const whole = document.querySelector("[name=page_picks]");
  const rows = [...document.querySelectorAll("input[name=pick][type=checkbox]")];
  const commands = [...document.querySelectorAll("[form=bulk][name=command]")];
  const clear = form.querySelector(".clear");
  const isAll = form.elements.all !== undefined;
  const elsewhere = [...form.querySelectorAll("input[type=hidden][name=pick]")].map((input) => input.value);
  const MOST = 500;
  if (isAll) return;
  whole.removeAttribute("name");

  // The links that turn the page or order the list carry along what is ticked.
  const keep = (picks) => {
    for (const link of document.querySelectorAll("a.keeps, .pager a")) {
      const address = new URL(link.href);
      address.searchParams.delete("pick");
      for (const pick of picks.slice(0, MOST)) address.searchParams.append("pick", pick);
      link.href = address;
    }
  };
  const count = () => {
    const picks = [...elsewhere, ...rows.filter((row) => row.checked).map((row) => row.value)];
    says.textContent = `${picks.length} of ${says.dataset.of} selected`;
    says.parentElement.classList.toggle("is-none", picks.length === 0);
    clear.hidden = picks.length === 0;
    for (const command of commands) command.disabled = picks.length === 0;
    const ticked = rows.filter((row) => row.checked).length;
    whole.checked = ticked === rows.length;
    whole.indeterminate = ticked > 0 && ticked < rows.length;
    keep(picks);
  };
  whole.addEventListener("change", () => {
    for (const row of rows) row.checked = whole.checked;
    count();
  });
  for (const row of rows) row.addEventListener("change", count);
  // A page that comes back from the browser's memory has its ticks again, after this script ran.
  window.addEventListener("pageshow", count);
  count();
})();
