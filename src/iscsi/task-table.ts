import { COMMAND_WINDOW, IMMEDIATE_COMMANDS_MAX } from './limits.ts';
import { IttTable } from './itt-table.ts';
import { Task, TaskState } from './task.ts';

/** The tasks of one session: pooled, found by slot (transfer tags) or by initiator task tag. */
export class TaskTable {
  readonly #tasks: Task[] = [];
  readonly #free: Task[] = [];
  readonly #byTag = new IttTable(COMMAND_WINDOW + IMMEDIATE_COMMANDS_MAX);
  #active = 0;

  /** Tasks that are not free. */
  get active(): number {
    return this.#active;
  }

  /** A reset task for a tag that is not in use. The CmdSN window bounds how many there can be. */
  take(tag: number): Task {
    let task = this.#free.pop();
    if (task === undefined) {
      task = new Task(this.#tasks.length);
      this.#tasks.push(task);
    }
    task.tag = tag;
    this.#byTag.add(tag, task.slot);
    this.#active += 1;
    return task;
  }

  release(task: Task): void {
    this.#byTag.remove(task.tag);
    task.reset();
    this.#free.push(task);
    this.#active -= 1;
  }

  /** The task with this initiator task tag. */
  find(tag: number): Task | undefined {
    const slot = this.#byTag.find(tag);
    return slot < 0 ? undefined : this.#tasks[slot];
  }

  /** The task in a slot, if it is in use. */
  at(slot: number): Task | undefined {
    const task = this.#tasks[slot];
    return task === undefined || task.state === TaskState.FREE ? undefined : task;
  }

  /** All tasks in use. */
  list(): Task[] {
    return this.#tasks.filter((task) => task.state !== TaskState.FREE);
  }
}
