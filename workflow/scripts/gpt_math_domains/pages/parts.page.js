"use strict";
// What the page does beside its figures: it says when it was written, opens what a link leads into,
// and stays where a link led while figures above take their heights.
addEventListener("DOMContentLoaded", () => {
  const written = document.querySelector("#written");
  if (written) {
    const date = new Date(document.lastModified);
    const two = (number) => String(number).padStart(2, "0");
    const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    written.querySelector("time").textContent = day;
    written.hidden = false;
  }
  let aim = null;
  function follow() {
    aim = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    for (let around = aim; around; around = around.parentElement) {
      if (around.tagName === "DETAILS") around.open = true;
    }
    if (aim) aim.scrollIntoView({ behavior: "instant" });
  }
  follow();
  addEventListener("hashchange", follow);
  for (const move of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    addEventListener(move, () => (aim = null), { passive: true });
  }
  new ResizeObserver(() => aim && aim.scrollIntoView({ behavior: "instant" })).observe(document.body);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((part) => (part.open = true));
  });
});
