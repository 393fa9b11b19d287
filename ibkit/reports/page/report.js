"use strict";
(() => {
  const root = document.documentElement;
  const nonce = document.currentScript.nonce;
  const plots = [...document.querySelectorAll("figure > .plot")];

  // --- theme: the system's until the reader chooses
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("ibkit-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("ibkit-theme", theme); } catch { /* file: without storage */ } };
  const themeButton = document.getElementById("theme-button");

  function setTheme(theme) {
    root.dataset.theme = theme;
    themeButton.textContent = theme === "dark" ? "Light" : "Dark";
    drawAll();
  }
  themeButton.addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    remember(theme);
    setTheme(theme);
  });
  system.addEventListener("change", () => { if (!remembered()) setTheme(system.matches ? "dark" : "light"); });

  // --- code: out of the way until asked for
  const codeButton = document.getElementById("code-button");
  root.dataset.code = "hidden";
  codeButton.addEventListener("click", () => {
    const show = codeButton.getAttribute("aria-pressed") !== "true";
    root.dataset.code = show ? "shown" : "hidden";
    codeButton.setAttribute("aria-pressed", String(show));
    codeButton.textContent = show ? "Hide code" : "Show code";
    for (const cell of document.querySelectorAll("details.cell")) cell.open = show;
  });

  // --- figures
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function themed(layout, narrow) {
    const own = structuredClone(layout);
    const look = own.template?.layout ?? {};
    own.font = { ...look.font, ...own.font, color: colour("--text") };
    own.paper_bgcolor = own.plot_bgcolor = "rgba(0,0,0,0)";
    own.hoverlabel = { ...own.hoverlabel, bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: colour("--text") } };
    for (const key of Object.keys(own).filter((name) => /^[xy]axis\d*$/.test(name))) {
      if (narrow && own[key].rangebreaks) own[key].nticks = 3;
      own[key] = { gridcolor: colour("--grid"), zerolinecolor: colour("--line"), linecolor: colour("--line"), ...own[key] };
    }
    if (narrow) { // a telephone: the legend goes below, where it covers nothing
      own.legend = { ...own.legend, orientation: "h", x: 0, y: -0.3, yanchor: "top" };
      own.margin = { ...look.margin, ...own.margin, l: 48, r: 12 };
    }
    own.autosize = true;
    delete own.width;
    own.uirevision = "kept";
    return own;
  }

  function draw(plot) {
    const { data, layout } = plot.drawing ??= JSON.parse(plot.parentElement.querySelector("script.drawing").textContent);
    plot.querySelector(".waiting")?.remove();
    const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "sendDataToCloud"] };
    return window.Plotly.react(plot, data, themed(layout, plot.clientWidth < 520), config);
  }

  async function drawAll() {
    if (!window.Plotly) return;
    for (const plot of plots) await draw(plot);
    root.dataset.drawn = String(plots.length);
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function start() {
    const bundle = document.getElementById("plotly-bundle");
    if (bundle) {
      const script = document.createElement("script");
      script.nonce = nonce;
      script.textContent = await unpack(bundle.textContent);
      document.head.append(script);
      bundle.remove();
    }
    await drawAll();
    root.dataset.ready = "true";
  }

  setTheme(remembered() ?? (system.matches ? "dark" : "light"));
  start().catch((error) => {
    root.dataset.ready = "failed";
    for (const waiting of document.querySelectorAll(".waiting")) waiting.textContent = `This browser cannot draw the figure (${error}).`;
  });

  // --- paper is white
  let onScreen = "light";
  window.addEventListener("beforeprint", () => { onScreen = root.dataset.theme; setTheme("light"); });
  window.addEventListener("afterprint", () => setTheme(onScreen));
})();
