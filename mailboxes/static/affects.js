// What saving would mean for mailboxes, told in the bar of commands while somebody types. Passwords are not sent.
"use strict";
(() => {
  const form = document.getElementById("profile");
  const told = document.getElementById("affects");
  if (!form || !told || !form.dataset.preview) return;
  let waiting = 0;
  let asked = new AbortController();
  const ask = async () => {
    const typed = new FormData(form);
    for (const secret of form.querySelectorAll("[type=password]")) typed.delete(secret.name);
    asked.abort();
    asked = new AbortController();
    try {
      const answer = await fetch(form.dataset.preview, { method: "POST", body: typed, signal: asked.signal, redirect: "error" });
      if (answer.ok) told.innerHTML = await answer.text();
    } catch {
      // Whoever types on asks again, and Save asks in any case.
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, 400);
  });
  form.addEventListener("submit", () => clearTimeout(waiting));
})();
