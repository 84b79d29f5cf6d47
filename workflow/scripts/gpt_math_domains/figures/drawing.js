"use strict";
// Draws the figures of a page with plotly.js. Each is an element `.plot`, followed by its data and
// layout as JSON. A figure is drawn when it comes near the window, or when nothing else is to do.

const Drawing = (() => {
  const DARK = matchMedia("(prefers-color-scheme: dark)");
  const PAPER = "#181818"; // behind dark figures
  const MISSING = "#6e6e6e"; // behind heatmaps: what has no cell is no 0%
  const GREYS = { "font.color": "#e4e4e4", "gridcolor": "#3a3a3a" };
  const NARROW = 480; // pixels, of a figure
  const NARROW_TITLE = 32; // letters that it has room for
  const PRINTED = 680; // pixels that a page of paper is wide, A4 or Letter
  let printing = false;

  // Colours of figures are written for white paper. On dark paper, a colour that hardly stands out
  // is turned to its opposite lightness: black lines become white, coloured ones stay as they are.
  function parts(color) {
    const found = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(color);
    return found && found.slice(1).map((part) => parseInt(part, 16) / 255);
  }

  function luminance(rgb) {
    const [r, g, b] = rgb.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function onDark(color) {
    const rgb = parts(color);
    const contrast = rgb && (luminance(rgb) + 0.05) / (luminance(parts(PAPER)) + 0.05);
    if (!rgb || contrast >= 3) return color;
    const shift = 1 - Math.max(...rgb) - Math.min(...rgb);
    return "#" + rgb.map((v) => Math.round((v + shift) * 255).toString(16).padStart(2, "0")).join("");
  }

  function darken(value, key = "", parent = "") {
    if (Array.isArray(value)) {
      return key === "colorscale" ? value : value.map((item) => darken(item, key, parent));
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, inner]) => [name, darken(inner, name, key)]),
      );
    }
    if (typeof value !== "string") return value;
    if (key === "gridcolor") return GREYS.gridcolor;
    if (/bgcolor$/.test(key)) return /^(#fff(fff)?|white)$/i.test(value) ? PAPER : value;
    return /color$/.test(key) || key === "color" ? onDark(value) : value;
  }

  function themed(figure) {
    if (!DARK.matches || printing) return figure;
    const { data, layout } = darken({ data: figure.data, layout: figure.layout });
    layout.paper_bgcolor = PAPER;
    layout.plot_bgcolor = figure.layout.plot_bgcolor ? MISSING : PAPER;
    layout.hoverlabel = { bgcolor: "#333333", ...layout.hoverlabel, font: { color: "#ffffff" } };
    for (const menu of layout.updatemenus || []) {
      // plotly.js has a light background for the chosen button, whatever the others have.
      Object.assign(menu, { bgcolor: "#cccccc", bordercolor: "#888888" });
      menu.font = { ...menu.font, color: "#111111" };
    }
    return { data, layout };
  }

  // Entries of a legend that is no column: each with the heading that stands above it in one.
  function withHeadings(data) {
    let heading = "";
    return data.map((trace) => {
      if (trace.showlegend === false) return trace;
      heading = (trace.legendgrouptitle || {}).text || heading;
      const above = trace.legendgroup ? heading : ""; // a baseline stands below no heading
      return { ...trace, name: `${above} ${trace.name ?? ""}`.trim(), legendgrouptitle: {} };
    });
  }

  // Beside a narrow plot is no room: the legend, the colour bar and the buttons go below it.
  function fitted(place, { data, layout }) {
    place.style.height = place.dataset.height ??= place.style.height;
    const narrow = place.clientWidth < NARROW;
    place.dataset.narrow = narrow;
    if (!narrow) return { data, layout };
    const line = 26; // pixels
    const below = { orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom" };
    const fit = { ...layout, legend: { ...layout.legend, ...below }, margin: { ...layout.margin } };
    fit.margin.b += Number(place.dataset.legend || 0);
    const bars = ["coloraxis", "coloraxis2"].filter((name) => (layout[name] || {}).colorbar);
    for (const axis of bars) {
      const colorbar = { ...layout[axis].colorbar, ...below };
      colorbar.title = { text: `${colorbar.title.text}<br> `, side: "top" }; // clear of the bar
      fit[axis] = { ...layout[axis], colorbar };
    }
    if (bars.length) fit.margin.b += 3 * line;
    if (layout.updatemenus) {
      const lower = (menu) => ({ ...menu, pad: { ...menu.pad, t: menu.pad.t + line } });
      fit.updatemenus = layout.updatemenus.map(lower);
      fit.margin.b += line;
    }
    const [, first, rest] = /^(.*), (.*)$/.exec(layout.title.text) || [];
    if (rest && layout.title.text.length > NARROW_TITLE) {
      const pad = { ...layout.title.pad, b: layout.title.pad.b + line }; // grows downwards
      fit.title = { ...layout.title, text: `${first},<br>${rest}`, pad };
      fit.margin.t += line;
    }
    const more = fit.margin.b - layout.margin.b + fit.margin.t - layout.margin.t;
    if (layout.height || !place.hasAttribute("data-toolbar")) { // else it fills the window
      fit.height = (layout.height || place.clientHeight) + more;
      place.style.height = `${fit.height}px`;
    }
    return { data: withHeadings(data), layout: fit };
  }

  // How high the legend is that `fitted` puts below a plot, is known when it is drawn.
  function makeRoom(place) {
    const legend = place.dataset.narrow === "true" && place.querySelector(".legend .bg");
    const height = legend ? Math.ceil(legend.getBBox().height) : 0;
    if (height <= Number(place.dataset.legend || 0)) return;
    place.dataset.legend = height;
    redraw(place);
  }

  // What plotly.js offers to the mouse alone: entries of the legend, and buttons.
  function makeReachable(place) {
    const controls = place.querySelectorAll(".legendtoggle, .updatemenu-button");
    controls.forEach((control) => {
      const legend = control.classList.contains("legendtoggle");
      const name = control.parentNode.textContent.trim();
      control.setAttribute("tabindex", "0");
      control.setAttribute("role", "button");
      control.setAttribute("aria-label", legend ? `Show or hide ${name}` : name);
      if (control.dataset.reachable) return;
      control.dataset.reachable = "yes";
      control.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        place.dataset.focus = [...place.querySelectorAll("[data-reachable]")].indexOf(control);
        for (const kind of legend ? ["mousedown", "mouseup"] : ["click"]) {
          control.dispatchEvent(new MouseEvent(kind, { bubbles: true, view: window }));
        }
      });
    });
    // Drawing again replaces what had the focus.
    if (place.dataset.focus && !place.contains(document.activeElement)) {
      const again = place.querySelectorAll("[data-reachable]")[place.dataset.focus];
      if (again) again.focus({ preventScroll: true });
    }
  }

  function describe(place) {
    const picture = place.querySelector(".main-svg");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", place.dataset.description);
    makeReachable(place);
  }

  // An entry of the legend may be a switch: it turns off all traces that name it among their keys,
  // such as those of a protocol, or of a model.
  const off = new WeakMap(); // the switches that are off, by figure

  function switched(place, { data, layout }) {
    const entry = (trace) => (trace.meta || {}).switch;
    if (!off.has(place)) {
      const waiting = data.filter((trace) => entry(trace) && trace.visible === "legendonly");
      off.set(place, new Set(waiting.map(entry)));
    }
    const shown = (trace) => {
      if (entry(trace)) return off.get(place).has(entry(trace)) ? "legendonly" : true;
      return !trace.meta.keys.some((key) => off.get(place).has(key));
    };
    const now = (trace) =>
      entry(trace) || (trace.meta || {}).keys ? { ...trace, visible: shown(trace) } : trace;
    return { data: data.map(now), layout };
  }

  function turn(place, { curveNumber, data }) {
    const key = (data[curveNumber].meta || {}).switch;
    if (!key) return true; // plotly.js hides or shows the entry's own group
    off.get(place)[off.get(place).has(key) ? "delete" : "add"](key);
    redraw(place);
    return false;
  }

  // The choice of linear or logarithmic steps is that of all figures of the page, those too that are
  // drawn later.
  let chosen = null;

  function choose(place) {
    ((place.layout || {}).updatemenus || []).forEach((menu, number) => {
      const active = menu.buttons.findIndex(({ label }) => label === chosen);
      if (menu.type !== "buttons" || active < 0 || menu.active === active) return;
      Plotly.relayout(place, { ...menu.buttons[active].args[0], [`updatemenus[${number}].active`]: active });
    });
  }

  function chooseFor(place, { menu, button }) {
    if (menu.type !== "buttons") return;
    chosen = button.label;
    all().filter((other) => other.dataset.drawn && other !== place).forEach(choose);
  }

  function read(place) {
    return switched(place, JSON.parse(place.nextElementSibling.textContent));
  }

  function draw(place) {
    if (place.dataset.drawn || folded(place) || !window.Plotly) return;
    place.dataset.drawn = "yes";
    const { data, layout } = fitted(place, themed(read(place)));
    const config = {
      displayModeBar: place.hasAttribute("data-toolbar"),
      displaylogo: false,
      showSendToCloud: false, // else a button would offer to upload the figure
    };
    Plotly.newPlot(place, data, { ...layout, uirevision: "kept" }, config);
    describe(place);
    place.on("plotly_afterplot", () => describe(place));
    place.on("plotly_buttonclicked", (event) => chooseFor(place, event));
    place.on("plotly_legendclick", (event) => turn(place, event));
    place.on("plotly_legenddoubleclick", (event) => !(event.data[event.curveNumber].meta || {}).switch);
    choose(place);
    makeRoom(place);
  }

  // Draw again what has new data or another background; zoom and legend stay.
  function redraw(place) {
    if (!place.dataset.drawn) return;
    const { data, layout } = fitted(place, themed(read(place)));
    if (printing) layout.width = place.clientWidth; // at once: plotly.js resizes later
    Plotly.react(place, data, { ...layout, uirevision: "kept" });
    makeRoom(place);
  }

  // Draw again what may have become narrow or wide.
  function renew(place) {
    if (!place.dataset.drawn || folded(place)) return;
    if (place.dataset.narrow === String(place.clientWidth < NARROW)) {
      redraw(place);
      return;
    }
    Plotly.purge(place); // which keeps no room for what stood elsewhere, as `react` does
    delete place.dataset.drawn;
    draw(place);
  }

  function resize(place) {
    renew(place);
    if (place.dataset.drawn && !folded(place)) Plotly.Plots.resize(place);
  }

  const all = () => [...document.querySelectorAll(".plot")];
  const folded = (place) => place.offsetParent === null; // within a `details` that is closed

  function drawWhenIdle() {
    const next = all().find((place) => !place.dataset.drawn && !folded(place));
    if (!next) return;
    draw(next);
    (window.requestIdleCallback || setTimeout)(drawWhenIdle);
  }

  // A page that was copied alone still says what it shows.
  function tellWhatIsMissing(place) {
    const library = document.querySelector("script[src]").getAttribute("src");
    const told = [`${library} is missing beside this page, so this figure is not drawn.`];
    told.push(place.dataset.description);
    place.style.height = "auto";
    for (const text of told) {
      place.append(Object.assign(document.createElement("p"), { textContent: text }));
    }
  }

  addEventListener("DOMContentLoaded", () => {
    if (!window.Plotly) {
      all().forEach(tellWhatIsMissing);
      return;
    }
    const near = new IntersectionObserver(
      (seen) => seen.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
      { rootMargin: "300px" },
    );
    all().forEach((place) => near.observe(place));
    addEventListener("load", () => (window.requestIdleCallback || setTimeout)(drawWhenIdle));
  });
  DARK.addEventListener("change", () => all().forEach(redraw));
  let settled;
  addEventListener("resize", () => {
    clearTimeout(settled); // in the midst of it, a figure may be too small for its layout
    settled = setTimeout(() => all().forEach(resize), 200);
  });
  for (const [moment, now] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(moment, () => {
      printing = now;
      document.body.style.width = now ? `${PRINTED}px` : "";
      all().forEach(now ? renew : resize);
      all().forEach(draw); // what was not yet
    });
  }
  return { redraw };
})();
