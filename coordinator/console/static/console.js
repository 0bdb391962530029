// What the pages do beyond forms and links: they stay up to date, and can be used by keyboard. All works without.

const POLL_MILLISECONDS = 10_000;
const STREAM_TRIES = 3;
const main = document.getElementById("main");
const asOf = document.getElementById("as-of");
const words = document.body.dataset;
const live = main.dataset.live;
let paused = false;
let busy = false;
let failures = 0;
let told = null;  // the newest mark of what is looked at; the page has that of what it shows
let stop = () => {};

// What somebody has under their hands stays: a field, a button or a link that has the focus, and what is opened.
function isEditing() {
  const at = document.activeElement;
  return at !== main && main.contains(at) || main.querySelector("details[open], dialog[open]") !== null;
}

async function fetchPage() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (answer.redirected || answer.status === 401 || answer.status === 403) {
    location.reload();
  }
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function takeOver(page) {
  const focused = document.activeElement?.id;
  main.replaceChildren(...page.getElementById("main").childNodes);
  asOf.replaceChildren(...page.getElementById("as-of").childNodes);
  main.dataset.mark = page.getElementById("main").dataset.mark ?? "";
  document.title = page.title;
  if (focused) document.getElementById(focused)?.focus();
  offerCopies();
}

function offerCopies() {
  for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
}

function announceRows(page) {
  const known = new Set([...main.querySelectorAll("[data-row]")].map((row) => row.dataset.row));
  const fresh = [...page.querySelectorAll("[data-row]")].filter((row) => !known.has(row.dataset.row)).length;
  asOf.replaceChildren(...page.getElementById("as-of").childNodes);
  if (fresh === 0) {
    for (const row of page.querySelectorAll("[data-row]")) {
      main.querySelector(`[data-row="${CSS.escape(row.dataset.row)}"]`)?.replaceWith(row);
    }
    return;
  }
  document.querySelector(".fresh")?.remove();
  const button = document.createElement("button");
  button.className = "fresh";
  button.textContent = words.new.replace("#", String(fresh));
  button.addEventListener("click", () => takeOver(page));
  main.querySelector("#rows, .empty")?.before(button);
}

async function refresh() {
  if (paused || busy || document.hidden || isEditing()) return;
  busy = true;
  const before = told;
  try {
    const page = await fetchPage();
    if (isEditing()) return;
    if (live === "rows") announceRows(page);
    else takeOver(page);
    if (!page.getElementById("main").dataset.live) stop();
    failures = 0;
  } catch {
    asOf.title = words.away;
  } finally {
    busy = false;
    if (told !== before) catchUp();
  }
}

// What changed before anybody listened, or while somebody had something under their hands, is not missed.
function catchUp() {
  if (told !== null && told !== main.dataset.mark) refresh();
}

function poll(milliseconds) {
  const ticking = setInterval(refresh, milliseconds);
  stop = () => clearInterval(ticking);
}

function listen() {
  const source = new EventSource(new URL(`${words.base ?? ""}/live?of=${encodeURIComponent(live)}`, location.href));
  stop = () => source.close();
  source.addEventListener("message", (event) => {
    failures = 0;
    told = event.data;
    catchUp();
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED || ++failures > STREAM_TRIES) {
      source.close();
      poll(POLL_MILLISECONDS);
    }
  });
}

function begin() {
  if (live === "rows" || live === "tick") poll(Number(main.dataset.every ?? POLL_MILLISECONDS));
  else listen();
}

if (live) {
  const pause = document.createElement("button");
  pause.className = "plain";
  pause.textContent = words.pause;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? words.resume : words.pause;
    if (!paused) refresh();
  });
  asOf.after(pause);
  main.addEventListener("focusout", () => setTimeout(catchUp));  // once it is known where the focus goes
  main.addEventListener("toggle", catchUp, true);
  document.addEventListener("visibilitychange", () => {
    stop();
    if (!document.hidden) begin();
  });
  begin();
}

// j and k go through what can be opened, / goes to the filter, . pauses.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const links = [...main.querySelectorAll("[data-row] a, .groups .actions a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "j") links[Math.min(at + 1, links.length - 1)]?.focus();
  else if (event.key === "k") links[Math.max(at - 1, 0)]?.focus();
  else if (event.key === ".") document.querySelector("#as-of + .plain")?.click();
  else if (event.key === "/") {
    document.getElementById("filter")?.focus();
    event.preventDefault();
  }
});

offerCopies();
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button === null) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
  button.textContent = button.dataset.copied;
});
