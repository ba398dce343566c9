"use strict";
{
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- light and dark ----
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const themes = ["auto", "light", "dark"];
  const button = document.querySelector(".theme");
  let theme = recall();

  function recall() {
    try {
      const kept = localStorage.getItem("transferkit-theme");
      return themes.includes(kept) ? kept : "auto";
    } catch {
      return "auto";  // a browser may keep nothing for files
    }
  }

  function applyTheme(shown = theme) {
    root.dataset.theme = shown === "auto" ? (isDark.matches ? "dark" : "light") : shown;
    button.textContent = { auto: "◐ auto", light: "○ light", dark: "● dark" }[theme];
    all(".plot.drawn").forEach(draw);
  }

  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try {
      localStorage.setItem("transferkit-theme", theme);
    } catch {
      // the choice then lasts as long as the page
    }
    applyTheme();
  });
  isDark.addEventListener("change", () => applyTheme());

  // ---- charts ----
  const narrow = 560;
  const canHover = matchMedia("(hover: hover)").matches;
  const isTouched = matchMedia("(pointer: coarse)").matches;

  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  // Figures name the page's colours as CSS does, such as "var(--c2)".
  function coloured(value) {
    if (typeof value === "string") {
      const found = /^var\((--[\w-]+)\)$/.exec(value);
      return (found && colour(found[1])) || value;
    }
    if (Array.isArray(value)) return value.map(coloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each)]));
  }

  function template(isNarrow) {
    const [front, soft, line, faint, card] = ["--front", "--soft", "--line", "--faint", "--card"].map(colour);
    const axis = {
      gridcolor: faint, linecolor: line, zerolinecolor: line, tickcolor: line, automargin: true,
      autotickangles: [0, 90],
      tickfont: { color: soft, size: isNarrow ? 11 : 13 }, title: { font: { color: soft, size: 13 }, standoff: 10 },
    };
    const scale = [[0, colour("--low")], [0.5, colour("--middle")], [1, colour("--high")]];
    const opposed = [[0, colour("--c2")], [0.5, card], [1, colour("--c1")]];
    const bar = { thickness: 10, outlinewidth: 0, tickfont: { color: soft } };
    return {
      layout: {
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: front },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        colorway: [1, 2, 3, 4, 5, 6, 7, 8].map((i) => colour(`--c${i}`)),
        margin: { l: 10, r: 14, t: 14, b: 10 }, xaxis: axis, yaxis: axis,
        colorscale: { sequential: scale, diverging: opposed }, coloraxis: { colorbar: bar },
        hoverlabel: { bgcolor: card, bordercolor: line, font: { color: front }, align: "left" },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: front },
        legend: { font: { color: front } }, annotationdefaults: { font: { color: front } },
      },
      data: { heatmap: [{ colorscale: scale, colorbar: bar }] },
    };
  }

  function layoutOf(box, figure) {
    const layout = { ...figure.layout, template: template(box.clientWidth < narrow), autosize: true };
    if (box.clientWidth < narrow) {
      // There is no room beside the plot: the legend goes below it, and the box grows with it.
      const named = figure.data.filter((trace) => trace.name && trace.showlegend !== false).length;
      const shows = layout.showlegend ?? named > 1;
      layout.legend = { ...layout.legend, orientation: "h", x: 0, xanchor: "left", y: 0, yanchor: "bottom",
        yref: "container", font: { size: 12, color: colour("--front") } };
      box.style.height = shows ? `calc(var(--height) + ${22 * named}px)` : "";
    } else {
      box.style.height = "";
    }
    if (isTouched) layout.dragmode = false;  // a finger on a chart scrolls the page
    return coloured(layout);
  }

  const figures = new Map();
  const config = {
    responsive: false, displayModeBar: canHover ? "hover" : false, displaylogo: false, showLink: false, showSendToCloud: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };

  function draw(box) {
    if (!box.clientWidth) return;  // in a closed fold
    if (!figures.has(box)) {
      figures.set(box, JSON.parse(box.parentElement.querySelector("script").textContent));
    }
    const figure = figures.get(box);
    const isNew = !box.classList.contains("drawn");
    box.classList.add("drawn");
    box.drawnWidth = box.clientWidth;
    // plotly writes into what it is given, so it is given a copy.
    Plotly.react(box, coloured(figure.data), layoutOf(box, figure), config);
    if (isNew) {
      let points = null;
      box.on("plotly_hover", (event) => { points = event.points; showPicture(figure, event); });
      box.on("plotly_click", (event) => showPicture(figure, event));
      box.on("plotly_unhover", () => { points = null; hidePicture(); });
      // plotly tells of a point once, and scrolling hides its picture: the next movement shows it again.
      box.addEventListener("mousemove", (event) => { if (points) showPicture(figure, { points, event }); });
    }
  }

  const plots = all(".plot");
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !target.classList.contains("drawn")) draw(target);
    }
  }, { rootMargin: "800px" });
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.classList.contains("drawn") && target.clientWidth !== target.drawnWidth) draw(target);
    }
  });
  plots.forEach((box) => { near.observe(box); sized.observe(box); });

  // ---- a picture beside the pointer ----
  const hover = document.getElementById("hover");

  function showPicture(figure, { points, event }) {
    const told = points[0].customdata;
    const picture = figure.pictures[Array.isArray(told) ? told[0] : told];
    if (!picture) return hidePicture();
    const image = hover.firstElementChild;
    if (image.src !== picture) image.src = picture;
    hover.style.display = "block";
    const at = event.touches?.[0] ?? event.changedTouches?.[0] ?? event;
    const { width, height } = hover.getBoundingClientRect();
    const left = at.clientX + 18 + width < innerWidth ? at.clientX + 18 : at.clientX - 18 - width;
    hover.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
    hover.style.top = `${Math.max(4, Math.min(at.clientY + 18, innerHeight - height - 4))}px`;
  }

  function hidePicture() {
    hover.style.display = "none";
  }
  addEventListener("scroll", hidePicture, { passive: true });

  // ---- tables ----
  const texts = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  function valueOf(row, column) {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return texts.compare(String(a), String(b));
  }

  function sort(header) {
    const body = header.closest("table").tBodies[0];
    const column = header.cellIndex;
    // Numbers first from the largest down, as the best usually is; words from A on.
    const first = header.classList.contains("number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = header.ariaSort === first ? other : first;
    for (const one of header.parentElement.cells) one.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    const isNone = ([value]) => value === "-" || Number.isNaN(value);
    rows.sort((a, b) => isNone(a) - isNone(b) || sign * compare(a[0], b[0]));
    body.append(...rows.map(([, row]) => row));
  }

  for (const each of all("th button")) each.addEventListener("click", () => sort(each.parentElement));

  // ---- an enlarged picture ----
  const dialog = document.querySelector("dialog");
  let shown = null;

  function enlarge(figure) {
    shown = figure;
    dialog.querySelector("img").src = figure.querySelector("img").src;
    dialog.querySelector("img").alt = figure.querySelector("img").alt;
    const caption = figure.querySelector("figcaption").cloneNode(true);
    dialog.querySelector("figcaption").replaceWith(caption);
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const beside = by > 0 ? shown.nextElementSibling : shown.previousElementSibling;
    if (beside) enlarge(beside);
  }

  for (const each of all(".gallery button")) {
    each.addEventListener("click", () => enlarge(each.parentElement));
  }
  if (dialog) {
    dialog.addEventListener("click", ({ target }) => {
      if (target === dialog || target.value === "close") dialog.close();
      if (target.value === "before") step(-1);
      if (target.value === "after") step(1);
    });
    dialog.addEventListener("keydown", ({ key }) => {
      if (key === "ArrowLeft") step(-1);
      if (key === "ArrowRight") step(1);
    });
  }

  // ---- folds and contents ----
  function unfoldTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const fold = target && target.querySelector(":scope > details");
    if (fold) fold.open = true;
  }
  addEventListener("hashchange", unfoldTarget);
  for (const each of all("nav a")) each.addEventListener("click", () => setTimeout(unfoldTarget));

  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const inView = new Set();
  const reading = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) inView[isIntersecting ? "add" : "delete"](target.id);
    const here = [...links.keys()].find((id) => inView.has(id));
    links.forEach((link, id) => link.classList.toggle("here", id === here));
  }, { rootMargin: "-70px 0px -55% 0px" });
  all("main > section").forEach((section) => reading.observe(section));

  // ---- on paper everything is unfolded, and light ----
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((fold) => { fold.open = true; });
    applyTheme("light");
    plots.forEach(draw);
  });
  addEventListener("afterprint", () => {
    folded.forEach((fold) => { fold.open = false; });
    applyTheme();
  });

  applyTheme();
  unfoldTarget();
}
