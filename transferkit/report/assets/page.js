"use strict";
for (const box of document.querySelectorAll("figure.chart")) {
  const figure = JSON.parse(box.querySelector("script").textContent);
  Plotly.newPlot(box, figure.data, figure.layout, { responsive: true, displaylogo: false });
}
