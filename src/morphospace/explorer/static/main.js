// The page: what is shown, and what happens when somebody touches it.

import { Fields, load, loadPaths } from "./data.js";
import { makeDecoder } from "./decoder.js";
import { MapView, layersOf } from "./map.js";
import { along, found, inWords, straight } from "./path.js";
import { show, thumbnail } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const signed = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
const timesOf = (ratio) => (ratio < 0.01 ? "below 0.01 ×" : ratio < 100 ? `${ratio.toPrecision(2)} ×` : "over 100 ×");
const FRAMES = 9;
const DRAWN = 16;
const TOLERANCE = 1e-3;
const KINDS = ["straight", "best", "great-circle", "geodesic", "clear", "dense", "recognisable"];
const FILM_SECONDS = 4;

class Page {
  constructor(space) {
    this.space = space;
    this.about = space.about;
    this.fields = new Fields(space);
    this.decode = makeDecoder(this.about.decoder, space.weights);
    this.largest = this.checked();
    this.map = new MapView($("map"), space, this.fields);
    this.z = [0, 0];
    this.path = null;
    this.ends = null; // drawn by hand, in place of two classes
    this.t = 0;
    this.firstSample = 0;
  }

  /** Compare the decoder here with torch's images of some places; their largest difference. */
  checked() {
    const { check_places: places, check_pictures: pictures } = this.space.arrays;
    const pixels = this.about.image.channels * this.about.image.height * this.about.image.width;
    let largest = 0;
    for (let i = 0; i < places.length / 2; i++) {
      const made = this.decode(places.subarray(2 * i, 2 * i + 2));
      made.forEach((value, j) => (largest = Math.max(largest, Math.abs(value - pictures[i * pixels + j]))));
    }
    if (!(largest <= TOLERANCE))
      throw new Error(`this browser computes other pictures than torch (largest difference ${largest}); none are shown`);
    return largest;
  }

  // ---------------------------------------------------------------- words that stay

  open() {
    const { name, recipe, images, image, version } = this.about;
    document.title = `${name} · Morphospace`;
    $("name").textContent = name;
    $("about").textContent =
      `a space of 2 dimensions, learned by the recipe “${recipe}” from ${images.toLocaleString("en")} images of ` +
      `${image.height}×${image.width}×${image.channels}`;
    $("honest").textContent =
      `Every picture is decoded here, in your browser, from the ${this.about.decoder.weights.toLocaleString("en")} weights ` +
      `of the space's decoder; at ${this.space.arrays.check_places.length / 2} places it was compared with torch's just ` +
      `now, and no pixel differed by more than ${this.largest.toExponential(0)}. Nothing is sent anywhere. Morphospace ${version}.` +
      this.about.notes.map((note) => ` ${note}.`).join("");
    $("drawn-from").textContent =
      this.about.drawn_from === "sampler" ? "from the sampler, which knows where the training images lie" : "from the prior";
    this.choices();
    this.listen();
    this.readHash();
    $("waiting").hidden = true;
    $("page").hidden = false;
    this.map.resize();
    this.map.legend($("legend"));
    this.fitPicture();
    this.drawSamples();
    this.moved();
    this.newPath(false);
  }

  choices() {
    const option = (kind, name, value, words, checked) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: kind, name, value, checked });
      label.append(input, words);
      return label;
    };
    for (const [name, layer] of layersOf(this.space.arrays))
      $("layers").append(option("radio", "layer", name, layer.title, name === this.map.layer));
    const toggles = { dots: "images", holes: "holes", names: "names" };
    if (!this.space.arrays.dots) delete toggles.dots;
    if (!this.about.classes.length) delete toggles.names;
    for (const [name, words] of Object.entries(toggles)) $("shown").append(option("checkbox", name, name, words, true));
    for (const select of [$("from"), $("to")])
      for (const { name } of this.about.places) select.append(new Option(name));
    for (const kind of KINDS) $("kind").append(new Option(kind));
    if (this.about.paths_refused) for (const option of [...$("kind").options].slice(1)) option.disabled = true;
    const names = this.about.places.map(({ name }) => name);
    const pick = (wanted, otherwise) => (names.includes(wanted) ? wanted : otherwise);
    $("from").value = pick("Bag", names[0]);
    $("to").value = pick("Ankle boot", names.at(-1));
    if (names.length < 2) $("path-bar").querySelectorAll("label").forEach((label) => (label.hidden = true));
  }

  // ---------------------------------------------------------------- the point

  clamp([x, y]) {
    const { low, high } = this.about.view;
    return [Math.min(Math.max(x, low[0]), high[0]), Math.min(Math.max(y, low[1]), high[1])];
  }

  /** Move the point; it is drawn with the next frame of the screen. */
  move(z, keepPlaying = false) {
    if (!z.every(Number.isFinite)) return;
    this.z = this.clamp(z);
    if (!keepPlaying) this.stop();
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.moved();
    });
  }

  moved() {
    const place = this.fields.place(this.z);
    show($("picture"), this.decode(this.z), this.about.image);
    this.map.marks.z = this.z;
    this.map.drawMarks();
    for (const d of [0, 1]) if (document.activeElement !== $(`z${d}`)) $(`z${d}`).value = this.z[d].toFixed(2);
    this.shares(place.leading);
    const measures = [["density, to the prior's", timesOf(place.q / place.p)]];
    if (place.recognised !== null) measures.push(["recognised", place.recognised.toFixed(2)]);
    if (place.stretch !== null) measures.push(["stretch √det G", place.stretch.toPrecision(3)]);
    $("measures").replaceChildren(
      ...measures.flatMap(([name, value]) => {
        const [term, described] = [document.createElement("dt"), document.createElement("dd")];
        [term.textContent, described.textContent] = [name, value];
        return [term, described];
      }),
    );
    $("hole").classList.toggle("on", place.hole);
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.arrived(place), 300);
  }

  /** The classes at the place, as bars. */
  shares(leading) {
    const rows = leading.map(({ c, share }) => {
      const row = document.createElement("div");
      row.className = "share";
      const [name, value, track, bar] = ["span", "span", "div", "span"].map((kind) => document.createElement(kind));
      [name.className, value.className, track.className] = ["name", "value", "track"];
      name.textContent = share ? this.about.classes[c] : "–";
      value.textContent = share ? `${Math.round(100 * share)} %` : "";
      bar.style.width = `${100 * share}%`;
      bar.style.background = this.about.colours[c];
      track.append(bar);
      row.append(name, value, track);
      return row;
    });
    $("classes").replaceChildren(...rows);
  }

  /** The point has come to rest: say so to those who do not see it, and keep it in the address. */
  arrived({ leading, hole }) {
    const [first] = leading;
    const class_ = first?.share ? `, ${this.about.classes[first.c]} ${Math.round(100 * first.share)} %` : "";
    $("said").textContent = `z ${signed(this.z[0])}, ${signed(this.z[1])}${class_}${hole ? ", in a hole" : ""}`;
    const hash = new URLSearchParams({ z: this.z.map((v) => v.toFixed(3)).join(","), layer: this.map.layer });
    if (!this.ends && this.about.places.length > 1) {
      hash.set("from", $("from").value);
      hash.set("to", $("to").value);
      hash.set("by", $("kind").value);
    }
    history.replaceState(null, "", `#${hash.toString().replaceAll("%2C", ",")}`);
  }

  readHash() {
    const hash = new URLSearchParams(location.hash.slice(1));
    const z = (hash.get("z") ?? "").split(",").map(Number);
    if (z.length === 2 && hash.get("z") && z.every(Number.isFinite)) this.z = this.clamp(z);
    const layer = $("layers").querySelector(`input[value="${CSS.escape(hash.get("layer") ?? "")}"]`);
    if (layer) {
      layer.checked = true;
      this.map.layer = layer.value;
    }
    for (const [name, id] of [["from", "from"], ["to", "to"], ["by", "kind"]])
      if ([...$(id).options].some((option) => option.value === hash.get(name) && !option.disabled))
        $(id).value = hash.get(name);
  }

  /** The picture as large as fits its frame, each pixel a whole number of the screen's. */
  fitPicture() {
    const { height, width } = this.about.image;
    const room = document.querySelector(".frame").clientWidth;
    const scale = Math.max(1, Math.floor(room / Math.max(height, width)));
    $("picture").style.width = `${Math.min(width * scale, room)}px`;
    $("picture").style.height = `${Math.min(height * scale, room)}px`;
  }

  // ---------------------------------------------------------------- paths

  /** Show the path that is chosen; `go` puts the point at its beginning. */
  async newPath(go = true) {
    this.stop();
    const [from, to, kind] = [$("from").value, $("to").value, $("kind").value];
    $("kind").disabled = this.ends !== null;
    const mine = (this.asked = {});
    try {
      let path = null;
      if (this.ends) path = await straight(this.decode, this.fields, ...this.ends);
      else if (this.about.places.length < 2 || from === to) path = null;
      else if (kind === "straight") {
        const [a, b] = [from, to].map((wanted) => this.about.places.find(({ name }) => name === wanted).z);
        path = await straight(this.decode, this.fields, a, b);
      } else {
        $("scores").textContent = "Finding every path between all classes. This is done once, and may take a minute.";
        path = found(await loadPaths(), from, to, kind);
      }
      if (this.asked !== mine) return; // another was chosen meanwhile
      this.path = path;
      $("scores").textContent = this.path ? inWords(this.path) : "Choose two places, or draw a path on the map.";
    } catch (error) {
      if (this.asked !== mine) return;
      this.path = null;
      $("scores").textContent = error.message;
    }
    this.map.marks.path = this.path?.z ?? null;
    this.map.marks.ends = this.path ? [this.path.z[0], this.path.z.at(-1)] : [];
    this.film();
    if (go && this.path) this.goTo(0);
    else this.map.drawMarks();
  }

  film() {
    const frames = !this.path
      ? []
      : Array.from({ length: FRAMES }, (_, i) => {
          const t = i / (FRAMES - 1);
          const z = along(this.path.z, t);
          return thumbnail(this.decode(z), this.about.image, `${Math.round(100 * t)} % of the way`, () => {
            this.stop();
            this.goTo(t);
          });
        });
    $("film").replaceChildren(...frames);
    $("player").hidden = !this.path;
  }

  goTo(t) {
    this.t = t;
    $("along").value = 1000 * t;
    $("part").textContent = `${Math.round(100 * t)} %`;
    [...$("film").children].forEach((frame, i) =>
      frame.setAttribute("aria-pressed", String(Math.round(t * (FRAMES - 1)) === i)),
    );
    this.move(along(this.path.z, t), true);
  }

  /** Walk to and fro until stopped. */
  play() {
    $("play").setAttribute("aria-pressed", "true");
    $("play").textContent = "Pause";
    let last = null;
    let way = this.t >= 1 ? -1 : 1;
    const step = (now) => {
      let t = this.t + (way * (last === null ? 0 : now - last)) / 1000 / FILM_SECONDS;
      last = now;
      if (t > 1 || t < 0) way = t > 1 ? -1 : 1;
      t = Math.min(Math.max(t, 0), 1);
      this.goTo(t);
      this.playing = requestAnimationFrame(step);
    };
    this.playing = requestAnimationFrame(step);
  }

  stop() {
    if (this.playing) cancelAnimationFrame(this.playing);
    this.playing = null;
    $("play").setAttribute("aria-pressed", "false");
    $("play").textContent = "Play";
  }

  // ---------------------------------------------------------------- samples

  drawSamples() {
    const { samples } = this.space.arrays;
    const count = samples.length / 2;
    const places = Array.from({ length: DRAWN }, (_, i) => {
      const at = 2 * ((this.firstSample + i) % count);
      return [samples[at], samples[at + 1]];
    });
    this.firstSample = (this.firstSample + DRAWN) % count;
    $("drawn").replaceChildren(
      ...places.map((z) =>
        thumbnail(this.decode(z), this.about.image, `sample at ${z.map((v) => signed(v)).join(", ")}`, () => this.move(z)),
      ),
    );
    return places;
  }

  // ---------------------------------------------------------------- hands

  listen() {
    const map = $("map");
    const placeOf = (event) => {
      const box = map.getBoundingClientRect();
      return this.clamp(this.map.toSpace([event.clientX - box.left - map.clientLeft, event.clientY - box.top - map.clientTop]));
    };
    let drag = null;
    map.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      map.setPointerCapture(event.pointerId);
      const draws = event.shiftKey || $("draw").getAttribute("aria-pressed") === "true";
      drag = { from: placeOf(event), draws };
      if (!draws) this.move(drag.from);
    });
    map.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const place = placeOf(event);
      if (drag.draws) {
        this.map.marks.path = [drag.from, place];
        this.map.marks.ends = [drag.from, place];
      }
      this.move(place);
    });
    const end = (event) => {
      if (drag?.draws && event.type === "pointerup") {
        this.ends = [drag.from, placeOf(event)];
        $("from").value = $("to").value = ""; // so that either can be chosen anew
        $("draw").setAttribute("aria-pressed", "false");
        this.newPath();
      }
      drag = null;
    };
    map.addEventListener("pointerup", end);
    map.addEventListener("pointercancel", end);
    map.addEventListener("keydown", (event) => this.key(event));
    for (const d of [0, 1])
      $(`z${d}`).addEventListener("input", () => {
        const value = $(`z${d}`).valueAsNumber;
        this.move(d ? [this.z[0], value] : [value, this.z[1]]);
      });
    $("layers").addEventListener("change", (event) => this.relayer({ layer: event.target.value }));
    $("shown").addEventListener("change", ({ target }) => {
      this.map.shown[target.value] = target.checked;
      this.relayer({});
    });
    for (const id of ["from", "to", "kind"])
      $(id).addEventListener("change", () => {
        this.ends = null;
        for (const [one, other] of [["from", "to"], ["to", "from"]])
          if (!$(one).value) $(one).value = this.about.places.find(({ name }) => name !== $(other).value).name;
        this.newPath();
      });
    $("draw").addEventListener("click", ({ currentTarget }) =>
      currentTarget.setAttribute("aria-pressed", String(currentTarget.getAttribute("aria-pressed") !== "true")),
    );
    $("play").addEventListener("click", () => (this.playing ? this.stop() : this.path && this.play()));
    $("along").addEventListener("input", ({ target }) => {
      this.stop();
      if (this.path) this.goTo(target.value / 1000);
    });
    $("sample").addEventListener("click", () => {
      this.map.marks.samples = this.drawSamples();
      this.map.drawMarks();
      this.map.legend($("legend"));
    });
    window.addEventListener("hashchange", () => {
      this.readHash();
      this.relayer({});
      this.moved();
      this.newPath(false);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.map.legend($("legend")));
    new ResizeObserver(() => this.fitPicture()).observe(document.querySelector(".frame"));
  }

  relayer({ layer }) {
    if (layer) this.map.layer = layer;
    this.map.draw();
    this.map.legend($("legend"));
    this.arrived(this.fields.place(this.z));
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = steps[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey || !(step || event.key === "Home")) return;
    event.preventDefault();
    const { low, high } = this.about.view;
    const size = ((high[0] - low[0]) / 150) * (event.shiftKey ? 6 : 1);
    this.move(step ? this.z.map((v, d) => v + size * step[d]) : [0, 0]);
  }
}

try {
  new Page(await load()).open();
} catch (error) {
  $("waiting").textContent = `This page cannot be shown: ${error.message}`;
  $("waiting").classList.add("failed");
  throw error;
}
