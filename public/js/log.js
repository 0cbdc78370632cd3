// @ts-check
// The log of a job, followed as it grows.
import * as api from "./api.js";

/** Bytes of an old log that are fetched, its end; the rest is on the server. */
const TAIL = 256 * 1024;

const pre = /** @type {HTMLPreElement} */ (document.querySelector("#log"));

let [id, offset] = [0, 0];
let decoder = new TextDecoder();

/** @param {number} job */
async function open(job) {
  if (id !== job) pre.replaceChildren(); // the log of this one may be out of reach
  const { total } = await api.log(job, 0, 0);
  [id, offset] = [job, Math.max(0, total - TAIL)];
  decoder = new TextDecoder();
  pre.replaceChildren();
}

/**
 * Show what the log has grown by; returns a sentence when there is nothing to see.
 * @param {number} job
 */
export async function showLog(job) {
  if (id !== job) await open(job);
  const { total, bytes } = await api.log(job, offset);
  // A reset job starts its log anew.
  if (total < offset) await open(job);
  else if (bytes.byteLength) {
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
    offset += bytes.byteLength;
    pre.append(decoder.decode(bytes, { stream: true }));
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }
  return total ? "" : "The log is empty.";
}
