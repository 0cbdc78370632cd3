// @ts-check
// What is looked at stands in the address (#/jobs/12), and is fetched again every two seconds.
import * as api from "./api.js";
import { showJobs } from "./jobs.js";
import { showLog } from "./log.js";
import { showWorkers } from "./workers.js";

const INTERVAL = 2000; // milliseconds

/** @type {Record<string, (id: number) => Promise<string>>} */
const VIEWS = { jobs: showJobs, log: showLog, workers: showWorkers };

const element = (/** @type {string} */ name) =>
  /** @type {HTMLElement} */ (document.querySelector(name));

function place() {
  const [, view = "jobs", id = "0"] = location.hash.split("/");
  return view in VIEWS ? { view, id: Number(id) || 0 } : { view: "jobs", id: 0 };
}

/** @returns {Promise<{title: string, href: string}[]>} */
async function path(/** @type {string} */ view, /** @type {number} */ id) {
  if (view === "workers") return [];
  const steps = [];
  for (let at = id; at; ) {
    const { title, parent } = await api.job(at);
    const href = `#/${at === id ? view : "jobs"}/${at}`;
    steps.unshift({ title: title || `Job ${at}`, href });
    at = parent;
  }
  return [{ title: "All jobs", href: "#/jobs/0" }, ...steps];
}

function showPath(/** @type {{title: string, href: string}[]} */ steps) {
  const links = steps.map(({ title, href }) => {
    const link = document.createElement("a");
    [link.textContent, link.href] = [title, href];
    return link;
  });
  links.at(-1)?.setAttribute("aria-current", "page");
  if (element("#path").textContent !== links.map((link) => link.textContent).join(""))
    element("#path").replaceChildren(...links);
}

function showTabs(/** @type {string} */ view) {
  document.querySelectorAll("[data-view]").forEach((link) => {
    const here = link.getAttribute("data-view") === (view === "log" ? "jobs" : view);
    link.setAttribute("aria-current", here ? "page" : "false");
  });
  element("#log").hidden = view !== "log";
  if (view === "log") element("table").hidden = true;
}

async function refresh() {
  const { view, id } = place();
  showTabs(view);
  try {
    showPath(await path(view, id));
    element("#note").textContent = await VIEWS[view](id);
    element("#connection").textContent = "";
  } catch (error) {
    const lost = error instanceof TypeError;
    const reason = lost ? "The server does not answer, trying again" : String(error.message);
    element("#connection").textContent = reason;
  }
}

/** One round after the other, never two at once; a new address does not wait for the next. */
async function run() {
  for (;;) {
    const moved = new Promise((resolve) =>
      addEventListener("hashchange", resolve, { once: true }),
    );
    if (!document.hidden) await refresh();
    await Promise.race([moved, new Promise((resolve) => setTimeout(resolve, INTERVAL))]);
  }
}

run();
