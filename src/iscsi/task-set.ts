import { TaskAttribute } from '#scsi/mod.ts';
import type { Task } from './task.ts';
import { TaskQueue } from './task-queue.ts';

/**
 * Task attributes (SAM-5 §8.6), one task set per I_T nexus: SIMPLE tasks run as they come; an
 * ORDERED task waits for all older ones, and all newer ones wait for it; a HEAD OF QUEUE task
 * starts at once, and newer ones wait for it.
 */
export class TaskSet {
  readonly #held = new TaskQueue();
  #running = 0;
  #fences = 0;

  /** True when the task may start now; otherwise it is held and comes back from `ended`. */
  admit(task: Task): boolean {
    if (!this.#mayStart(task) || (this.#held.length > 0 && !headOfQueue(task))) {
      this.#held.push(task);
      return false;
    }
    this.#start(task);
    return true;
  }

  /** A task that ran has ended; `next` has those that may start now. */
  ended(task: Task): void {
    this.#running -= 1;
    if (task.fence) this.#fences -= 1;
  }

  /** The oldest held task, when nothing that it waits for runs any more; it is started. */
  next(): Task | undefined {
    const task = this.#held.peek();
    if (task === undefined || !this.#mayStart(task)) return undefined;
    this.#held.shift();
    this.#start(task);
    return task;
  }

  /** A held task was aborted. */
  drop(task: Task): void {
    this.#held.remove(task);
  }

  #mayStart(task: Task): boolean {
    if (headOfQueue(task)) return true;
    if (task.attribute === TaskAttribute.ORDERED) return this.#running === 0;
    return this.#fences === 0;
  }

  #start(task: Task): void {
    this.#running += 1;
    task.fence = task.attribute === TaskAttribute.ORDERED || headOfQueue(task);
    if (task.fence) this.#fences += 1;
  }
}

function headOfQueue(task: Task): boolean {
  return task.attribute === TaskAttribute.HEAD_OF_QUEUE;
}
