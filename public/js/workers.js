// @ts-check
// The workers of the farm.
import * as api from "./api.js";
import { state } from "./jobs.js";
import { show } from "./table.js";

/** @param {api.Worker} worker */
function load(worker) {
  const cores = /** @type {number[]} */ (JSON.parse(worker.cpu || "[]"));
  if (cores.length === 0) return "";
  return `${Math.round(cores.reduce((sum, core) => sum + core, 0) / cores.length)} %`;
}

/** @param {api.Worker} worker */
function memory(worker) {
  if (!worker.total_memory) return "";
  const [used, all] = [worker.total_memory - worker.free_memory, worker.total_memory];
  return `${(used / 1024).toFixed(1)} of ${(all / 1024).toFixed(1)} GB`;
}

/** @type {import("./table.js").Column<api.Worker>[]} */
const COLUMNS = [
  { title: "Name", kind: "title", text: (worker) => worker.name },
  {
    title: "State",
    show: (cell, worker) => state(cell, worker.active ? worker : { state: "STOPPED" }),
  },
  {
    title: "Last job",
    text: (worker) => (worker.last_job > 0 ? worker.last_job : ""),
    link: (worker) => (worker.last_job > 0 ? `#/log/${worker.last_job}` : ""),
  },
  { title: "Affinity", kind: "extra", text: (worker) => worker.affinity },
  { title: "Computer", kind: "extra", text: (worker) => worker.host },
  { title: "System", kind: "extra", text: (worker) => worker.os },
  { title: "Version", kind: "extra", text: (worker) => worker.version },
  { title: "Processors", kind: "extra number", text: load },
  { title: "Memory", kind: "extra number", text: memory },
  { title: "Done", kind: "number", text: (worker) => worker.finished },
  { title: "Failed", kind: "number", text: (worker) => worker.error },
];

/** Show all workers; returns a sentence when there are none. */
export async function showWorkers() {
  const workers = await api.workers();
  show(COLUMNS, workers, (worker) => worker.name);
  return workers.length ? "" : "No worker has reported yet.";
}
