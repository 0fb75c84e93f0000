// Series side by side in Cornerstone3D, joined by its own synchroniser; what is told of them is what the viewer knows.
import * as core from "@cornerstonejs/core";
import * as tools from "@cornerstonejs/tools";
import * as loader from "@cornerstonejs/dicom-image-loader";

const ENGINE = "engine";
const opposite = { L: "R", R: "L", A: "P", P: "A", H: "F", F: "H" };
const views = [];
let engine;

const told = (kind, imageId) => core.metaData.get(kind, imageId);
const letters = (direction) => tools.utilities.orientation.getOrientationStringLPS([...direction]).slice(0, 1);

function plane(imageId) {
  const found = told("imagePlaneModule", imageId);
  return {
    frame: found.frameOfReferenceUID,
    position: [...found.imagePositionPatient],
    rows: [...found.rowCosines],
    columns: [...found.columnCosines],
    spacing: [found.rowPixelSpacing, found.columnPixelSpacing],
    size: [found.rows, found.columns],
    number: told("generalImageModule", imageId).instanceNumber,
  };
}

function along(imageId) {
  const { position, rows: r, columns: c } = plane(imageId);
  const normal = [r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0]];
  return normal.reduce((sum, value, axis) => sum + value * position[axis], 0);
}

function frameOf(name) {
  const figure = document.createElement("figure");
  const view = Object.assign(document.createElement("div"), { className: "view", id: name });
  const caption = document.createElement("figcaption");
  const marks = Object.fromEntries(["left", "right", "top", "bottom"].map((side) => {
    const mark = Object.assign(document.createElement("span"), { className: `mark ${side}` });
    return [side, mark];
  }));
  figure.append(view, caption, ...Object.values(marks));
  document.getElementById("all").append(figure);
  return { view, caption, marks };
}

async function load(name, urls) {
  const imageIds = urls.map((url) => `wadouri:${location.origin}/${url}`);
  for (const imageId of imageIds) await core.imageLoader.loadAndCacheImage(imageId);
  imageIds.sort((a, b) => along(a) - along(b));
  const frame = frameOf(name);
  engine.enableElement({ viewportId: name, type: core.Enums.ViewportType.STACK, element: frame.view });
  const viewport = engine.getViewport(name);
  await viewport.setStack(imageIds, 0);
  views.push({ name, imageIds, viewport, ...frame });
}

function describe({ viewport, caption, marks, imageIds }) {
  const { viewUp, viewPlaneNormal: n } = viewport.getCamera();
  const right = [  // of the screen: up x towards the viewer
    viewUp[1] * n[2] - viewUp[2] * n[1], viewUp[2] * n[0] - viewUp[0] * n[2], viewUp[0] * n[1] - viewUp[1] * n[0],
  ];
  const imageId = viewport.getCurrentImageId();
  const labels = { top: letters(viewUp), right: letters(right) };
  labels.bottom = opposite[labels.top];
  labels.left = opposite[labels.right];
  for (const side of Object.keys(marks)) marks[side].textContent = labels[side];
  const series = told("generalSeriesModule", imageId);
  const index = viewport.getCurrentImageIdIndex();
  caption.textContent = `${series.modality}: ${series.seriesDescription} (${index + 1} of ${imageIds.length})`;
  const { lower, upper } = viewport.getProperties().voiRange;
  return { index, labels, window: [lower, upper], description: series.seriesDescription, ...plane(imageId) };
}

async function until(done) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (done()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

window.open_ = async (series) => {
  core.setUseCPURendering(true);
  await core.init();
  await tools.init();
  await loader.init({ maxWebWorkers: 1 });
  engine = new core.RenderingEngine(ENGINE);
  for (const [name, urls] of Object.entries(series)) await load(name, urls);
  const joined = tools.synchronizers.createImageSliceSynchronizer("slices");
  for (const { name } of views) joined.add({ renderingEngineId: ENGINE, viewportId: name });
  engine.render();
  return Object.fromEntries(views.map(({ name, imageIds }) => [name, imageIds.map(plane)]));
};

// Scroll one view; the others follow by themselves, or do not.
window.scroll_ = async (name, index) => {
  await views.find((view) => view.name === name).viewport.setImageIdIndex(index);
  await until(() => views.every(({ viewport }) => viewport.getCurrentImageIdIndex() === index));
  engine.render();
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  return Object.fromEntries(views.map((view) => [view.name, describe(view)]));
};
window.ready_ = true;
