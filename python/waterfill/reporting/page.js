// Draws the charts, and redraws one when its axis is switched. Colours come from the style sheet.
const specs = JSON.parse(document.getElementById("charts").textContent);
const options = {
  renderer: "svg",
  actions: false,
  defaultStyle: false,
  tooltip: { disableDefaultStyle: true },
};
const views = new Map();
const NARROW = 560; // pixels: a legend of four columns is wider

// A layer holds further layers or encodings; only scales with an explicit type are switched.
function setScale(part, channel, type) {
  (part.layer ?? []).forEach((layer) => setScale(layer, channel, type));
  const scale = part.encoding?.[channel]?.scale;
  if (scale?.type) scale.type = type;
}

async function draw(name) {
  const place = document.getElementById(`chart-${name}`);
  const spec = structuredClone(specs[name]);
  spec.description = place.dataset.label;
  spec.config.legend.columns = place.clientWidth < NARROW ? 2 : 4;
  try {
    views.get(name)?.finalize();
    views.set(name, await window.vegaEmbed(place, spec, options));
    place.dataset.drawn = String(Number(place.dataset.drawn ?? 0) + 1);
  } catch (error) {
    place.textContent = "This chart could not be drawn; the table below has its numbers.";
    console.error(error);
  }
}

for (const set of document.querySelectorAll(".switch")) {
  const { chart, channel } = set.dataset;
  set.addEventListener("change", (event) => {
    setScale(specs[chart], channel, event.target.value);
    draw(chart);
  });
}

Promise.all(Object.keys(specs).map(draw)).then(() => {
  document.documentElement.dataset.charts = "drawn";
});
