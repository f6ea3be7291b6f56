"use strict";
// Draws every figure of the page when it comes into view, in the colours of the paper, and switches a curve on and off
// in all figures at once. Without a browser that can unpack plotly.js, the tables below the figures say the numbers.
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("library").textContent), c => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(unpacked).text();
  document.head.append(library);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, grid, paper] = ["ink", "soft", "grid", "paper"].map(name => style.getPropertyValue(`--${name}`));
    const axis = {gridcolor: grid, linecolor: soft, zerolinecolor: grid, automargin: true, tickcolor: soft};
    return {layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, family: "system-ui, sans-serif", size: 13},
      xaxis: axis, yaxis: axis, hoverlabel: {bgcolor: paper, bordercolor: soft, font: {color: ink}, namelength: -1},
      modebar: {bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink}, coloraxis: {colorbar: {outlinewidth: 0}},
    }};
  };
  const drawn = [], hidden = new Set();
  const key = trace => trace.legendgroup || trace.name;
  const shown = trace => (hidden.has(key(trace)) ? "legendonly" : true);
  const restyle = plot => Plotly.restyle(plot, {visible: plot.data.map(shown)});

  const config = {
    responsive: true, displaylogo: false, displayModeBar: "hover", toImageButtonOptions: {format: "svg", filename: "chart"},
    // Nothing leaves the page.
    modeBarButtonsToRemove: ["sendChartToCloud"], plotlyServerURL: "",
  };

  function parts(plot) {
    const figure = JSON.parse(plot.querySelector("script").textContent);
    const long = figure.data.filter(trace => trace.showlegend !== false).length > 8;
    const below = {orientation: "h", yref: "container", y: 0, yanchor: "bottom"};
    const margin = {t: 36, l: 10, r: 16, b: 10, ...figure.layout.margin};
    const layout = {legend: long ? {} : below, ...figure.layout, margin};
    if (figure.layout.height) plot.style.height = `${figure.layout.height}px`;
    figure.data.forEach(trace => { if (hidden.has(key(trace))) trace.visible = "legendonly"; });
    return {data: figure.data, layout: {uirevision: "kept", ...layout, template: colours()}};
  }

  function draw(plot) {
    const {data, layout} = parts(plot);
    Plotly.newPlot(plot, data, layout, config);
    drawn.push(plot);
    plot.on("plotly_legendclick", click => {
      const name = key(plot.data[click.curveNumber]);
      hidden.has(name) ? hidden.delete(name) : hidden.add(name);
      drawn.forEach(restyle);
      return false;
    });
    plot.on("plotly_legenddoubleclick", click => {
      const name = key(plot.data[click.curveNumber]);
      const others = plot.data.map(key).filter(other => other !== name);
      const alone = others.every(other => hidden.has(other));
      hidden.delete(name);
      others.forEach(other => (alone ? hidden.delete(other) : hidden.add(other)));
      drawn.forEach(restyle);
      return false;
    });
  }
  // For a page that goes on: a section anew, in which a figure that is drawn already changes in its place, as it is zoomed.
  window.showSection = (section, html) => {
    const opened = new Set([...section.querySelectorAll("details[open] > summary")].map(each => each.textContent));
    const before = new Map([...section.querySelectorAll("figure")].map(each => [each.querySelector("figcaption").textContent, each]));
    section.innerHTML = html;
    section.querySelectorAll("details > summary").forEach(each => { each.parentElement.open ||= opened.has(each.textContent); });
    section.querySelectorAll("figure").forEach(figure => {
      const old = before.get(figure.querySelector("figcaption").textContent)?.querySelector(".plot");
      const plot = figure.querySelector(".plot");
      if (!old || !drawn.includes(old)) return watch.observe(plot);
      const {data, layout} = parts(plot);
      plot.replaceWith(old);
      Plotly.react(old, data, layout, config);
    });
    for (let at = drawn.length - 1; at >= 0; at--) if (!drawn[at].isConnected) Plotly.purge(drawn.splice(at, 1)[0]);
  };
  const watch = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(entry => {
    watch.unobserve(entry.target);
    draw(entry.target);
  }), {rootMargin: "600px"});
  document.querySelectorAll(".plot").forEach(plot => watch.observe(plot));
  dispatchEvent(new Event("drawable"));
  dark.addEventListener("change", () => drawn.forEach(plot => Plotly.relayout(plot, {template: colours()})));
  addEventListener("beforeprint", () => document.querySelectorAll(".plot").forEach(plot => drawn.includes(plot) || draw(plot)));
})();
