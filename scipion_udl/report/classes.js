/* Sorts the classes and writes the command that chooses those which are ticked; without it the page is whole. */
"use strict";
(() => {
  const boxes = [...document.querySelectorAll("input[name=class]")];
  const order = document.getElementById("order"), copy = document.getElementById("copy");
  const command = document.getElementById("command"), chosen = document.getElementById("chosen");
  const facts = (box) => box.closest("[data-class]").dataset;
  const thousands = (number) => number.toLocaleString("en").replaceAll(",", "\u2009");

  function tell() {
    const ticked = boxes.filter((box) => box.checked).map(facts).sort((a, b) => a.class - b.class);
    const particles = ticked.reduce((sum, one) => sum + Number(one.size), 0);
    chosen.textContent = `${ticked.length} of ${boxes.length} classes ticked, ${thousands(particles)} particles`;
    command.textContent = command.dataset.before + (ticked.map((one) => one.class).join(",") || "NUMBERS")
      + command.dataset.after;
    copy.disabled = !ticked.length;
    copy.textContent = "Copy";
  }

  function sort() {
    const key = order.value, sign = Number(order.selectedOptions[0].dataset.sign);
    const rank = (cell) => (key in cell.dataset ? sign * Number(cell.dataset[key]) : Number.MAX_VALUE);
    for (const grid of document.querySelectorAll(".classes"))
      grid.append(...[...grid.children].sort((a, b) => rank(a) - rank(b) || a.dataset.class - b.dataset.class));
  }

  async function take() {
    try {
      await navigator.clipboard.writeText(command.textContent);
      copy.textContent = "Copied";
    } catch { // not allowed to: select it
      getSelection().selectAllChildren(command);
    }
  }

  const states = { all: () => true, none: () => false, first: (box) => box.defaultChecked };
  for (const button of document.querySelectorAll("[data-tick]"))
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = states[button.dataset.tick](box);
      tell();
    });
  for (const box of boxes) box.addEventListener("change", tell);
  for (const tool of document.querySelectorAll(".tools")) tool.hidden = false;
  order.addEventListener("change", sort);
  copy.addEventListener("click", take);
  let closed = []; // paper shows all that is said
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
  sort();
  tell();
})();
