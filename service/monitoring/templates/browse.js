"use strict";
const form = document.querySelector("form.browse");
if (form) {
  const rows = Array.from(form.querySelectorAll("[data-plane]")).map((box) => {
    const slider = box.querySelector("input[type=range]");
    const count = box.querySelector("output");
    let waiting = false;
    const draw = () => {
      waiting = false;
      const text = (Number(slider.value) + 1) + " of " + (Number(slider.max) + 1);
      count.textContent = text;
      slider.setAttribute("aria-valuetext", text);
      for (const picture of box.querySelectorAll("img")) {
        picture.src = picture.dataset.stem + slider.value + ".png";
        picture.alt = picture.dataset.title + ", " + box.dataset.plane + " section " + text;
      }
      history.replaceState(null, "", "?" + new URLSearchParams(new FormData(form)));
    };
    const soon = () => { if (!waiting) { waiting = true; setTimeout(draw, 60); } };
    slider.addEventListener("input", soon);
    for (const link of box.querySelectorAll("[data-step]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        slider.value = Number(slider.value) + Number(link.dataset.step);
        soon();
      });
    }
    return { box, draw };
  });
  for (const choice of form.querySelectorAll("input[name=overlay]")) {
    choice.addEventListener("change", () => {
      for (const { box, draw } of rows) {
        const picture = box.querySelector("img[data-overlay]");
        picture.dataset.stem = picture.dataset.stem.replace(/(checkerboard|edges)/, choice.value);
        picture.dataset.title = choice.dataset.title;
        draw();
      }
    });
  }
  for (const button of form.querySelectorAll("button.show")) button.hidden = true;
}
