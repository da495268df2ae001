// Brings the newest state of the view that is shown, and counts on what has passed. The page is whole without it.
// What comes is markup that the broker made, with every name escaped; the browser runs nothing in it (Content-Security-Policy).

const main = document.getElementById("main");
const live = document.getElementById("live");
let fresh = performance.now();

function say(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

// Times, as the broker writes them.
function time(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${two(Math.floor(seconds / 3600) % 24)} h`;
}

function tick() {
  const passed = performance.now() - fresh;
  for (const span of main.querySelectorAll("[data-age]")) say(span, time(Number(span.dataset.age) + passed));
  for (const span of main.querySelectorAll("[data-left]")) say(span, time(Math.max(0, Number(span.dataset.left) - passed)));
}

// Makes one element like another, and leaves alone what is the same: focus, selection and scrolling stay.
function become(own, next) {
  if (own.nodeType === Node.TEXT_NODE) {
    if (own.data !== next.data) own.data = next.data;
    return;
  }
  for (const { name } of [...own.attributes]) if (!next.hasAttribute(name)) own.removeAttribute(name);
  for (const { name, value } of next.attributes) if (own.getAttribute(name) !== value) own.setAttribute(name, value);
  const wanted = [...next.childNodes];
  const keys = new Set(wanted.map((node) => node.dataset?.key).filter((key) => key !== undefined));
  for (const node of [...own.childNodes]) {
    if (node.dataset?.key !== undefined && !keys.has(node.dataset.key)) node.remove();
  }
  const kept = new Map([...own.children].filter((node) => node.dataset.key !== undefined).map((node) => [node.dataset.key, node]));
  let at = own.firstChild;
  for (const node of wanted) {
    const key = node.dataset?.key;
    const alike = at && at.nodeName === node.nodeName && at.dataset?.key === undefined;
    const known = key === undefined ? (alike ? at : undefined) : kept.get(key);
    if (!known) {
      own.insertBefore(document.importNode(node, true), at);
    } else {
      if (known === at) at = at.nextSibling;
      else own.insertBefore(known, at);
      become(known, node);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function show(html) {
  const next = document.createElement("main");
  next.append(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  for (const { name, value } of main.attributes) next.setAttribute(name, value);
  const focused = document.activeElement;
  become(main, next);
  fresh = performance.now();
  tick();
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// What somebody who does not see the page wants to hear of: the large figures, when one has changed.
function figures() {
  return [...main.querySelectorAll(".figures > div")]
    .filter((div) => !div.querySelector("[data-age], [data-left]"))
    .map((div) => `${div.firstChild.textContent} ${div.lastChild.textContent}`).join(", ");
}

const LIVE = "Live: what changes is shown within a second or two.";
const TRY_AGAIN = 5_000;
const TRY_AGAIN_MAX = 60_000;

// Follows as long as the page is seen: a browser has few connections to a host, and those of tabs that nobody sees would take them.
function follow(address) {
  let events, again, wasOpen = false, pause = TRY_AGAIN;
  const leave = () => {
    clearTimeout(again);
    events?.close();
    events = undefined;
  };
  const attend = () => {
    if (document.hidden) leave();
    else events ??= listen(address, opened, refused);
  };
  const opened = () => {
    wasOpen = true;
    pause = TRY_AGAIN;
  };
  const refused = () => {
    if (!wasOpen) {
      say(live, "Not live: the broker does not let you watch this. Load the page again to see what has changed.");
      return;
    }
    say(live, "Not live: the broker refuses to be watched, and is asked again after a while. What is shown may be old.");
    again = setTimeout(() => {
      leave();
      attend();
    }, pause);
    pause = Math.min(2 * pause, TRY_AGAIN_MAX);
  };
  document.addEventListener("visibilitychange", attend);
  attend();
}

function listen(address, opened, refused) {
  const events = new EventSource(address);
  events.addEventListener("open", () => {
    say(live, LIVE);
    opened();
  });
  events.addEventListener("view", (event) => {
    say(live, LIVE);
    const before = figures();
    show(JSON.parse(event.data));
    const after = figures();
    if (before !== after) say(document.getElementById("news"), after);
  });
  events.addEventListener("trouble", (event) => {
    say(live, `Not live just now, what is shown may be old: ${JSON.parse(event.data)}`);
  });
  events.addEventListener("over", (event) => {
    events.close();
    say(live, `Not live any more: ${JSON.parse(event.data)}`);
  });
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) refused();
    else say(live, "Not live: the broker does not answer. What is shown may be old.");
  });
  return events;
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select")) return;
  const field = document.getElementById("q");
  if (field) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});

setInterval(tick, 1000);
if (main.dataset.live) follow(main.dataset.live);
