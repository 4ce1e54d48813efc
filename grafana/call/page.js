"use strict";
// Says what is under the pointer, or where the arrow keys stand in a lane. Without it the titles still do.
const tip = document.getElementById("tip");
const words = new Map();
for (const title of document.querySelectorAll("svg title")) {
  words.set(title.parentNode, title.textContent);
  title.parentNode.setAttribute("aria-label", title.textContent);
  title.parentNode.setAttribute("role", "img");
  title.remove();
}
function say(shape) {
  for (const old of document.querySelectorAll(".here")) old.classList.remove("here");
  tip.hidden = !words.has(shape);
  if (tip.hidden) return;
  shape.classList.add("here");
  tip.textContent = words.get(shape);
  const box = (shape.querySelector("use") || shape).getBoundingClientRect();
  const left = Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4));
  tip.style.left = `${left}px`;
  tip.style.top = `${box.top > 40 ? box.top - tip.offsetHeight - 4 : box.bottom + 4}px`;
}
const shapeAt = (event) => event.target.closest(".mark, .bar, .band");
document.addEventListener("pointerover", (event) => say(shapeAt(event)));
document.addEventListener("focusout", () => say(null));
document.addEventListener("scroll", () => say(null), { passive: true });
document.addEventListener("keydown", (event) => {
  const lane = event.target.closest(".lane");
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!lane || !step) return;
  const shapes = [...lane.querySelectorAll(".bar, .mark")];
  shapes.sort((a, b) => a.dataset.startMs - b.dataset.startMs);
  if (!shapes.length) return;
  event.preventDefault();
  const now = shapes.findIndex((shape) => shape.classList.contains("here"));
  say(shapes[(now + step + shapes.length) % shapes.length]);
});
function open() {
  const turn = document.getElementById(location.hash.slice(1));
  if (turn && turn.tagName === "DETAILS") turn.open = true;
}
addEventListener("hashchange", open);
open();
