// Brings this page up to date without losing where its reader is.
const SHOWN = new Map(); // what each part was last told to show; its reader may have opened folds
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
    if (SHOWN.get(part) === now.innerHTML) continue;
    SHOWN.set(part, now.innerHTML);
    const open = [...part.querySelectorAll("details")].map((fold) => fold.open);
    part.innerHTML = now.innerHTML;
    part.querySelectorAll("details").forEach((fold, place) => (fold.open = open[place] ?? fold.open));
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
