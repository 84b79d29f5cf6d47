"use strict";
// Brings this page up to date without losing where its reader is.
async function update() {
  const response = await fetch("/").catch(() => null);
  const told = document.querySelector("#connection");
  told.hidden = response !== null && response.ok;
  if (!told.hidden) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const names = (page) => [...page.querySelectorAll(".plot")].map((plot) => plot.id).join();
  if (names(fresh) !== names(document)) {
    location.reload();
    return;
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (part.innerHTML !== now.innerHTML) part.innerHTML = now.innerHTML;
  }
  for (const plot of document.querySelectorAll(".plot")) {
    const now = fresh.getElementById(plot.id);
    const [before, after] = [plot.nextElementSibling, now.nextElementSibling];
    if (before.textContent === after.textContent) continue;
    before.textContent = after.textContent;
    plot.dataset.description = now.dataset.description;
    Drawing.redraw(plot);
  }
}
