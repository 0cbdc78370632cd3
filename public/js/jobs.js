// @ts-check
// The jobs of a group.
import * as api from "./api.js";
import { put, show } from "./table.js";

/** Rows that are shown; a browser takes seconds for ten times as many. */
const LIMIT = 2000;

/** @param {api.Job} job */
const isGroup = (job) => Boolean(job.is_group);

/** @param {api.Job} job */
function counts(job) {
  if (job.total === 0) return "";
  const parts = [`${job.total_finished}/${job.total} done`];
  if (job.total_working) parts.push(`${job.total_working} running`);
  if (job.total_errors) parts.push(`${job.total_errors} failed`);
  return parts.join(", ");
}

/** Show a state as a coloured word. */
export function state(/** @type {HTMLElement} */ cell, /** @type {{state: string}} */ row) {
  put(cell, "b", row.state.toLowerCase()).dataset.state = row.state;
}

/** @param {HTMLElement} cell @param {api.Job} job */
function progress(cell, job) {
  const part = job.state === "FINISHED" ? 1 : (job.progress ?? 0);
  const percent = `${Math.floor(part * 100)} %`;
  const bar = /** @type {HTMLProgressElement} */ (put(cell, "progress", percent));
  bar.value = part;
  bar.dataset.state = job.state;
  put(cell, "span", percent);
}

/** @type {import("./table.js").Column<api.Job>[]} */
const COLUMNS = [
  { title: "Id", kind: "number", text: (job) => job.id },
  {
    title: "Title",
    kind: "title",
    text: (job) => job.title || `Job ${job.id}`,
    link: (job) => `#/${isGroup(job) ? "jobs" : "log"}/${job.id}`,
  },
  { title: "State", show: state },
  { title: "Progress", kind: "progress", show: progress },
  { title: "User", kind: "extra", text: (job) => job.user },
  { title: "Worker", kind: "extra", text: (job) => job.worker },
  { title: "Jobs", kind: "counts", text: counts },
];

/**
 * Show the children of a group; returns a sentence about them, or nothing.
 * @param {number} id
 */
export async function showJobs(id) {
  const jobs = await api.children(id);
  show(COLUMNS, jobs.slice(0, LIMIT), (job) => String(job.id));
  if (jobs.length > LIMIT) return `The first ${LIMIT} of ${jobs.length} jobs.`;
  return jobs.length ? "" : "No jobs here.";
}
