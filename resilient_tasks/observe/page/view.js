// The part of the run that is in view, and the gestures that change it.

class View {
  /** Begin with the whole run; `changed` is called after each change. */
  constructor(first, last, changed) {
    const margin = (last - first) * 0.02;
    this.whole = { from: first - margin, to: last + margin };
    this.changed = changed;
    Object.assign(this, this.whole);
  }

  get seconds() { return this.to - this.from; }

  get isWhole() { return this.seconds >= (this.whole.to - this.whole.from) * 0.999; }

  look({ from, to }) {
    const seconds = Math.min(Math.max(to - from, 0.002), this.whole.to - this.whole.from);
    this.from = Math.min(Math.max(from, this.whole.from), this.whole.to - seconds);
    this.to = this.from + seconds;
    this.changed();
  }

  /** Show `factor` times as much; what is at this share of the width stays there. */
  zoom(factor, share = 0.5) {
    const at = this.from + this.seconds * share, seconds = this.seconds * factor;
    this.look({ from: at - seconds * share, to: at + seconds * (1 - share) });
  }

  pan(share) {
    const by = this.seconds * share;
    this.look({ from: this.from + by, to: this.to + by });
  }
}

/** Zoom with the wheel. One that scrolls the page goes on scrolling when the time line comes under the pointer. */
function zoomWithWheel(canvas, view) {
  let scrolled = -1000;
  window.addEventListener("wheel", (event) => {
    const here = event.target === canvas, pinch = here && event.ctrlKey;
    if (!pinch && (!here || event.timeStamp - scrolled < 300 || (event.deltaY > 0 && view.isWhole))) {
      scrolled = event.timeStamp;
      return;
    }
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      view.pan((event.deltaX || event.deltaY) / canvas.clientWidth);
      return;
    }
    const turned = Math.max(-300, Math.min(300, event.deltaY * (event.deltaMode === 1 ? 30 : 1)));
    view.zoom(Math.exp(turned * (pinch ? 0.01 : 0.002)), event.offsetX / canvas.clientWidth);
  }, { passive: false });
}

/** Pan with a drag and zoom with two fingers; call `tap` for a click and `hover` for a pointer that only moves. */
function followPointers(canvas, scroller, view, { tap, hover }) {
  const pointers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    canvas.setPointerCapture(event.pointerId);
    if (pointers.size === 1) moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    hover(before ? null : event);
    if (!before) return;
    pointers.set(event.pointerId, event);
    moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    const other = [...pointers.values()].find((each) => each.pointerId !== event.pointerId);
    if (other) {
      const [was, is] = [before, event].map((each) => Math.max(20, Math.abs(each.clientX - other.clientX)));
      const middle = (event.clientX + other.clientX) / 2 - canvas.getBoundingClientRect().left;
      view.zoom(was / is, middle / canvas.clientWidth);
    } else if (moved > 4) {
      view.pan((before.clientX - event.clientX) / canvas.clientWidth);
      scroller.scrollTop += before.clientY - event.clientY;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      if (pointers.delete(event.pointerId) && name === "pointerup" && moved <= 4 && !pointers.size) tap(event);
    });
  }
  canvas.addEventListener("pointerleave", () => hover(null));
}
