import type { Task } from './task.ts';

/** A first-in first-out queue of tasks in a ring that grows by doubling. */
export class TaskQueue {
  #ring: (Task | undefined)[] = Array.from({ length: 16 });
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(task: Task): void {
    if (this.#length === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#length) & (this.#ring.length - 1)] = task;
    this.#length += 1;
  }

  /** Puts a task back in front. */
  unshift(task: Task): void {
    if (this.#length === this.#ring.length) this.#grow();
    this.#head = (this.#head - 1) & (this.#ring.length - 1);
    this.#ring[this.#head] = task;
    this.#length += 1;
  }

  /** The oldest task, which stays. */
  peek(): Task | undefined {
    return this.#length === 0 ? undefined : this.#ring[this.#head];
  }

  shift(): Task | undefined {
    if (this.#length === 0) return undefined;
    const task = this.#ring[this.#head];
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#length -= 1;
    return task;
  }

  /** Takes a task out wherever it stands (aborts: rare). */
  remove(task: Task): void {
    const kept = this.toArray().filter((t) => t !== task);
    this.#ring.fill(undefined);
    this.#head = 0;
    this.#length = 0;
    for (const t of kept) this.push(t);
  }

  /** The tasks, oldest first. */
  toArray(): Task[] {
    const out: Task[] = [];
    for (let i = 0; i < this.#length; i++) {
      const task = this.#ring[(this.#head + i) & (this.#ring.length - 1)];
      if (task !== undefined) out.push(task);
    }
    return out;
  }

  #grow(): void {
    const tasks: (Task | undefined)[] = this.toArray();
    tasks.length = this.#ring.length * 2;
    this.#ring = Array.from(tasks);
    this.#head = 0;
  }
}
