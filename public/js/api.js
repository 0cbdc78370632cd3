// @ts-check
// The server's answers. All addresses stand here.

/**
 * @typedef {{id: number, parent: number, title: string, state: string, user: string, worker: string,
 *   is_group: number, progress: number | null, total: number, total_finished: number,
 *   total_working: number, total_errors: number}} Job
 * @typedef {{name: string, state: string, active: number | boolean, affinity: string, cpu: string,
 *   free_memory: number, total_memory: number, last_job: number, finished: number, error: number,
 *   host: string, os: string, version: string}} Worker
 */

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
async function request(path, options) {
  const answer = await fetch(`api/${path}`, { cache: "no-store", ...options });
  if (!answer.ok && answer.status !== 416) {
    const told = await answer.json().catch(() => null);
    throw new Error(told?.error?.message ?? `${answer.status} ${answer.statusText}`);
  }
  return answer;
}

/** @param {string} path */
const json = async (path) => (await request(path)).json();

/** @returns {Promise<Job>} */
export const job = (/** @type {number} */ id) => json(`jobs/${id}`);

/** @returns {Promise<Job[]>} */
export const children = (/** @type {number} */ id) => json(id ? `jobs/${id}/children` : "jobs");

/** @returns {Promise<Worker[]>} */
export const workers = () => json("workers");

/**
 * Bytes of a job's log, and how many it has in all; none when `from` is its end.
 * @param {number} id
 * @param {number} from
 * @param {number | ""} [to]
 */
export async function log(id, from, to = "") {
  const answer = await request(`jobs/${id}/log`, { headers: { Range: `bytes=${from}-${to}` } });
  const total = Number(answer.headers.get("Content-Range")?.split("/")[1] ?? 0);
  return { total, bytes: answer.status === 206 ? await answer.arrayBuffer() : new ArrayBuffer(0) };
}
