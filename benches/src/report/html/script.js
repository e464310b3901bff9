const hidden = new Set();
const show = () => document.querySelectorAll("[data-a]").forEach(e => {
  const off = hidden.has(e.dataset.a);
  if (e.tagName === "BUTTON") e.setAttribute("aria-pressed", String(!off)); else e.style.display = off ? "none" : "";
});
document.querySelectorAll(".legend button").forEach(b => b.onclick = () => {
  hidden.has(b.dataset.a) ? hidden.delete(b.dataset.a) : hidden.add(b.dataset.a);
  show();
});
const rgb = name => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  return [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16));
};
function paint() {
  const from = rgb("--map0"), to = rgb("--map1");
  document.querySelectorAll("canvas[data-m]").forEach(c => {
    const w = +c.dataset.w, cells = c.dataset.m, h = Math.max(1, cells.length / w);
    c.width = w; c.height = h;
    const ctx = c.getContext("2d"), image = ctx.createImageData(w, h);
    for (let i = 0; i < cells.length; i++) {
      const v = parseInt(cells[i], 16), t = v ? 0.16 + 0.84 * v / 15 : 0;
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = from[k] + (to[k] - from[k]) * t;
      image.data[4 * i + 3] = 255;
    }
    ctx.putImageData(image, 0, 0);
  });
}
paint();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
