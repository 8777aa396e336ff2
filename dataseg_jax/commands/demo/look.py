"""How the page looks, and the part of it that runs in the browser."""

CSS = """
.gradio-container main.app { max-width: 1180px; margin: 0 auto; padding: 10px 22px 20px; }
.gradio-container .tabitem { padding-top: 10px; }
footer { display: none !important; }
#head h1 { font-size: 22px; font-weight: 600; margin: 0; }
#head p { margin: 2px 0 6px; color: #5f6b76; }
.dark #head p { color: #b6c0ca; }
.said { min-height: 24px; padding: 2px 2px; font-size: 15px; line-height: 1.4; }
.said .bad { color: #b3261e; }
.dark .said .bad { color: #ff8a80; }
.lack { padding: 18px 4px; font-size: 15px; color: var(--body-text-color-subdued); }
.hint { font-size: 13px; color: var(--body-text-color-subdued); }
.clickable img { cursor: crosshair; -webkit-user-drag: none; user-select: none; }
#dragged { display: none !important; }
.dragging { position: fixed; z-index: 99; border: 2px solid #1e78dc; background: #1e78dc22; pointer-events: none; }
"""

# A box that is dragged on the image of the tab "Clicks and boxes" goes into the hidden field #dragged, in pixels of the
# page's picture. A press that does not move is a click, which Gradio reports.
DRAG = """
<script>
(() => {
  let start = null, frame = null, moved = false;
  const imageAt = (event) => event.target.closest && event.target.closest("#boxes img");
  const pixel = (image, event) => {
    const r = image.getBoundingClientRect(), w = image.naturalWidth, h = image.naturalHeight;
    const scale = Math.min(r.width / w, r.height / h, 1);  // Gradio never enlarges a picture.
    const x = (event.clientX - r.left - (r.width - w * scale) / 2) / scale;
    const y = (event.clientY - r.top - (r.height - h * scale) / 2) / scale;
    return [Math.min(Math.max(x, 0), w - 1), Math.min(Math.max(y, 0), h - 1)];
  };
  const clear = () => { if (frame) frame.remove(); start = frame = null; };
  addEventListener("pointerdown", (event) => {
    moved = false;
    const image = imageAt(event);
    if (image && event.button === 0) start = { image, x: event.clientX, y: event.clientY, at: pixel(image, event) };
  }, true);
  addEventListener("dragstart", (event) => { if (imageAt(event)) event.preventDefault(); }, true);
  addEventListener("pointermove", (event) => {
    if (!start) return;
    const w = event.clientX - start.x, h = event.clientY - start.y;
    moved = moved || Math.hypot(w, h) > 6;
    if (!moved) return;
    if (!frame) {
      frame = document.createElement("div");
      frame.className = "dragging";
      document.body.append(frame);
    }
    const left = Math.min(event.clientX, start.x), top = Math.min(event.clientY, start.y);
    const style = { left, top, width: Math.abs(w), height: Math.abs(h) };
    for (const [name, value] of Object.entries(style)) frame.style[name] = value + "px";
  }, true);
  addEventListener("pointerup", (event) => {
    if (start && moved) {
      const field = document.querySelector("#dragged textarea, #dragged input");
      const box = [...start.at, ...pixel(start.image, event)].map((v) => v.toFixed(1)).join(", ");
      field.value = box === field.value ? box + " " : box;  // The same box again is news, too.
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    clear();
  }, true);
  addEventListener("pointercancel", clear, true);
  addEventListener("click", (event) => {
    if (moved && imageAt(event)) { event.stopPropagation(); event.preventDefault(); }
    moved = false;
  }, true);
})();
</script>
"""

# A page of this origin alone: whatever Gradio's files name elsewhere, the browser does not ask for it.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
