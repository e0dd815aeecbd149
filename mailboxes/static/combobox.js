// Comboboxes (ARIA 1.2): inputs that offer what is found while one types; see emailprofiles/forms/combobox.py.
// Without this file they are search fields, and the server asks which record was meant.
"use strict";
(() => {
  const PAUSE = 150;
  let number = 0;

  const made = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // One place for everything that is read out: it outlives the parts of a page that are replaced.
  const says = made("p", { class: "vh", role: "status" });
  const say = (sentence) => {
    says.textContent = "";
    window.setTimeout(() => { says.textContent = sentence; }, 20);
  };

  class Combobox {
    constructor(input, search, name, choose) {
      this.input = input;
      this.search = search;
      this.choose = choose;
      this.former = input.value;
      this.typed = false;
      const id = `found-${++number}`;
      this.list = made("ul", { role: "listbox", id, "aria-label": name });
      this.note = made("p", { class: "hint", "aria-hidden": "true" });
      this.popup = made("div", { class: "combo-popup", hidden: "" }, this.list, this.note);
      const roles = { role: "combobox", "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list" };
      for (const [attribute, value] of Object.entries(roles)) input.setAttribute(attribute, value);
      input.after(this.popup);
      input.addEventListener("input", () => this.onInput());
      input.addEventListener("keydown", (event) => this.onKey(event));
      input.addEventListener("click", () => { if (this.popup.hidden) this.find(); });
      input.addEventListener("blur", () => this.close());
      this.popup.addEventListener("pointerdown", (event) => event.preventDefault());
      this.list.addEventListener("click", (event) => {
        const option = event.target.closest("[role=option]");
        if (option) this.accept(option);
      });
    }

    get options() { return [...this.list.children]; }
    get active() { return this.list.querySelector("[aria-selected=true]"); }
    get isOpen() { return !this.popup.hidden; }

    onInput() {
      this.typed = this.isStale = true;
      this.activate(null);
      window.clearTimeout(this.pause);
      this.pause = window.setTimeout(() => this.find(), PAUSE);
    }

    // Untouched text names what is chosen already: then everything is offered.
    async find(first) {
      window.clearTimeout(this.pause);
      this.request?.abort();
      this.request = new AbortController();
      const { signal } = this.request;
      const words = new URLSearchParams({ q: this.typed ? this.input.value : "" });
      try {
        const answer = await fetch(`${this.search}?${words}`, { signal });
        if (answer.ok && !answer.redirected) this.show(await answer.text(), first);
      } catch (error) {
        if (error.name !== "AbortError") this.close();
      }
    }

    show(fragment, first) {
      if (document.activeElement !== this.input) return;
      const found = new DOMParser().parseFromString(fragment, "text/html").querySelector("ul");
      if (!found) return;
      this.isStale = false;
      this.list.replaceChildren(...found.children);
      this.options.forEach((option, at) => { option.id = `${this.list.id}-${at}`; });
      const any = this.options.length > 0;
      this.list.hidden = !any;
      this.note.textContent = found.dataset.says;
      this.popup.hidden = false;
      this.place();
      this.input.setAttribute("aria-expanded", String(any));
      say(found.dataset.says);
      this.activate(any && first ? first(this.options) : null);
    }

    place() {
      this.popup.classList.remove("is-up");
      const { bottom } = this.popup.getBoundingClientRect();
      const above = this.input.getBoundingClientRect().top;
      const fits = bottom <= window.innerHeight || above < this.popup.offsetHeight + 120;
      this.popup.classList.toggle("is-up", !fits);
    }

    close() {
      window.clearTimeout(this.pause);
      this.request?.abort();
      this.popup.hidden = true;
      this.input.setAttribute("aria-expanded", "false");
      this.activate(null);
    }

    activate(option) {
      this.active?.setAttribute("aria-selected", "false");
      if (!option) {
        this.input.removeAttribute("aria-activedescendant");
        return;
      }
      option.setAttribute("aria-selected", "true");
      this.input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    }

    step(by) {
      const { options } = this;
      if (!options.length) return;
      const at = options.indexOf(this.active) + by;
      this.activate(options[at < -1 ? options.length - 1 : (at + options.length) % options.length]);
    }

    accept(option) {
      const { text } = option.dataset;
      this.typed = false;
      this.former = text;
      this.close();
      this.choose(text);
    }

    onKey(event) {
      const keys = {
        ArrowDown: () => this.arrow(event, 1, (options) => options[0]),
        ArrowUp: () => this.arrow(event, -1, (options) => options[options.length - 1]),
        Home: () => this.active && this.activate(this.options[0]),
        End: () => this.active && this.activate(this.options[this.options.length - 1]),
        Enter: () => this.enter(),
        Escape: () => this.escape(),
        Tab: () => { if (this.active) this.accept(this.active); },
      };
      const key = keys[event.key];
      if (!key || event.ctrlKey || event.metaKey || event.isComposing) return;
      if (key() && event.key !== "Tab") event.preventDefault();
    }

    // With Alt the list opens and nothing in it is picked yet.
    arrow(event, by, first) {
      if (!this.isOpen) this.find(event.altKey ? null : first);
      else if (this.active || by > 0) this.step(by);
      else this.activate(first(this.options));
      return true;
    }

    // While the list is open, Enter belongs to it and sends no form. A list for earlier words offers nothing:
    // words are looked up at once, and an address is taken as it stands.
    enter() {
      if (!this.isOpen) return false;
      const offered = this.isStale ? [] : this.options;
      const only = this.typed && offered.length === 1 ? offered[0] : null;
      if (this.active || only) this.accept(this.active || only);
      else if (this.isStale && !this.input.value.includes("@")) this.find(([one, ...more]) => (more.length ? null : one));
      else {
        this.close();
        if (this.typed && !offered.length) this.take();
      }
      return true;
    }

    // What was typed and is not in the list.
    take() {}

    escape() {
      if (this.isOpen) this.close();
      else if (this.input.value !== this.former) this.input.value = this.former;
      else return false;
      this.typed = this.input.value !== this.former;
      return true;
    }
  }

  const nameOf = (control) => {
    const label = control.labels[0]?.cloneNode(true);
    label?.querySelector(".req")?.remove();
    return label?.textContent.trim() || "";
  };

  // One record: the input holds its text.
  const single = (input) => {
    new Combobox(input, input.dataset.search, nameOf(input), (text) => {
      input.value = text;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    });
  };

  // Several records: the lines of the textarea are what is sent; they are shown as a list that is added to.
  class Members {
    constructor(lines) {
      this.lines = lines;
      this.chips = made("ul", { class: "chips", "aria-label": nameOf(lines) });
      this.input = made("input", { class: "input", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
      this.takeOver();
      const name = `Add a ${lines.dataset.one}`;
      this.input.placeholder = name;
      this.combobox = new Combobox(this.input, lines.dataset.search, name, (text) => this.add(text));
      this.combobox.take = () => this.add(this.input.value);
      this.input.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.defaultPrevented || !this.input.value.trim()) return;
        event.preventDefault();
        this.add(this.input.value);
      });
      // What stands in the input is meant to be sent, too.
      this.input.addEventListener("change", () => this.add(this.input.value));
      this.show();
    }

    // The input takes the place of the textarea: its label, its sentences, its anchor.
    takeOver() {
      const { lines, input } = this;
      for (const name of ["id", "aria-describedby", "aria-invalid"]) {
        if (lines.hasAttribute(name)) input.setAttribute(name, lines.getAttribute(name));
      }
      lines.id += "_lines";
      lines.closest(".combo").classList.add("is-list");
      lines.after(this.chips, made("div", { class: "combo" }, input));
    }

    get texts() { return this.lines.value.split("\n").map((line) => line.trim()).filter(Boolean); }
    set texts(texts) {
      this.lines.value = texts.join("\n");
      this.lines.dispatchEvent(new Event("change", { bubbles: true }));
      this.show();
    }

    add(text) {
      const wanted = text.trim();
      this.combobox.close();
      this.input.value = this.combobox.former = "";
      if (!wanted) return;
      const isNew = !this.texts.includes(wanted);
      if (isNew) this.texts = [...this.texts, wanted];
      say(`${wanted} ${isNew ? "added" : "is in the list already"}.`);
    }

    remove(text) {
      const at = this.texts.indexOf(text);
      this.texts = this.texts.filter((other) => other !== text);
      const buttons = this.chips.querySelectorAll("button");
      (buttons[Math.min(at, buttons.length - 1)] || this.input).focus();
      say(`${text} removed.`);
    }

    show() {
      this.chips.replaceChildren(...this.texts.map((text) => this.chip(text)));
      this.chips.hidden = !this.chips.children.length;
    }

    chip(text) {
      const [, name, note] = text.match(/^(.*?)\s*<([^<>]*)>$/) || [null, text, ""];
      const button = made("button", { type: "button", "aria-label": `Remove ${name}` }, "×");
      button.addEventListener("click", () => this.remove(text));
      return made("li", {}, made("span", {}, name), ...(note ? [made("small", {}, note)] : []), button);
    }
  }

  const enhance = (part) => {
    for (const control of part.querySelectorAll("[data-search]:not([data-ready])")) {
      control.dataset.ready = "";
      if (control.disabled) continue;
      if (control.matches("textarea")) new Members(control);
      else single(control);
    }
  };

  document.body.append(says);
  enhance(document);
  document.body.addEventListener("htmx:load", (event) => enhance(event.target));
})();
