"use strict";
const $ = (id) => document.getElementById(id);
const list = $("list"), items = [...list.children], search = $("search"), speaker = $("speaker"), sort = $("sort");
const fold = (text) => text.normalize("NFC").toLowerCase();
const texts = new Map(items.map((item) => [item, fold(item.dataset.text)]));
let whole = false; // a button searches for a whole word, typing for any part of the text

function filter() {
  const wanted = fold(search.value.trim());
  let shown = 0;
  for (const item of items) {
    const text = texts.get(item);
    item.hidden = !(whole ? text.split(/\s+/) : text).includes(wanted) || Boolean(speaker?.value && item.dataset.speaker !== speaker.value);
    shown += !item.hidden;
  }
  $("count").textContent = `${shown.toLocaleString("en")} of ${items.length.toLocaleString("en")} utterances`;
}

function order() {
  const up = sort.value.startsWith("-"), field = sort.value.replace("-", "");
  const number = (item, name) => Number(item.dataset[name]);
  const worseFirst = (a, b) => number(b, "errors") - number(a, "errors") || number(b, "characters") - number(a, "characters");
  const byField = field === "speaker"
    ? (a, b) => a.dataset.speaker.localeCompare(b.dataset.speaker, "en", { numeric: true })
    : (a, b) => (up ? 1 : -1) * (number(a, field) - number(b, field));
  list.append(...items.sort((a, b) => byField(a, b) || (up ? -1 : 1) * worseFirst(a, b) || number(a, "line") - number(b, "line")));
}

search.addEventListener("input", () => { whole = false; filter(); });
speaker?.addEventListener("change", filter);
sort.addEventListener("change", order);
for (const button of document.querySelectorAll("[data-find]")) {
  button.addEventListener("click", () => {
    search.value = button.dataset.find;
    whole = true;
    if (speaker) speaker.value = "";
    filter();
    $("utterances-title").scrollIntoView();
    search.focus({ preventScroll: true });
  });
}
// One recording at a time.
list.addEventListener("play", (event) => {
  for (const audio of list.querySelectorAll("audio")) if (audio !== event.target) audio.pause();
}, true);
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
$("controls").hidden = false;
filter();
