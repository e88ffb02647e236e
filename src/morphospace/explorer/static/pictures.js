// Decoded images on canvases.

/** Put an image (C, H, W) with values from 0 to 1 on a canvas of its own size. */
export function show(canvas, pixels, { channels, height, width }) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const count = height * width;
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) {
      const value = pixels[(channels === 3 ? c : 0) * count + i];
      picture.data[4 * i + c] = Math.min(Math.max(value, 0), 1) * 255 + 0.5;
    }
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** Root summed squares of the differences of two images. */
export function distance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum);
}

/** A button with a small picture in it. */
export function thumbnail(pixels, spec, label, pressed) {
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  show(canvas, pixels, spec);
  button.type = "button";
  button.title = label;
  button.setAttribute("aria-label", label);
  button.append(canvas);
  button.addEventListener("click", pressed);
  return button;
}
