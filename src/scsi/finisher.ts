import type { BlockError } from '#block/mod.ts';
import { Phase } from './command.ts';
import type { Nexus, ScsiCommand } from './command.ts';
import type { GateDevice } from './gate-device.ts';
import { Status } from './sense.ts';
import type { Task } from './task.ts';

type Done = (command: ScsiCommand) => void;

/** Brings commands to their end after their data phase, and knows which are on the way there. */
export class Finisher {
  readonly #gate: GateDevice;
  readonly #fail: (command: ScsiCommand, error: unknown) => void;
  readonly #underWay = new Map<Task, Promise<unknown>>();

  /** `fail` gives a command the status and sense of what was thrown. */
  constructor(gate: GateDevice, fail: (command: ScsiCommand, error: unknown) => void) {
    this.#gate = gate;
    this.#fail = fail;
  }

  /** Runs what is left of a task, when the gate is open where it needs the medium. */
  finish(task: Task, done: Done): void {
    if (!this.#gate.shut || task.row.needs !== 'medium') {
      this.#run(task, done);
      return;
    }
    this.#gate.whenOpen(task.command, (refusal: BlockError | null) => {
      if (refusal === null) {
        this.#run(task, done);
        return;
      }
      this.#fail(task.command, refusal);
      done(task.command);
    });
  }

  /** Ends a command as `rest` does. */
  settle(command: ScsiCommand, rest: Promise<void>, done: Done): void {
    rest.then(
      () => {
        good(command);
        done(command);
      },
      (e: unknown) => {
        this.#fail(command, e);
        done(command);
      },
    );
  }

  /** Resolves when what these nexuses have under way has ended, well or not. */
  async settled(nexuses: ReadonlySet<Nexus>): Promise<void> {
    const theirs = [...this.#underWay].filter(([task]) => nexuses.has(task.nexus));
    await Promise.allSettled(theirs.map(([, rest]) => rest));
  }

  #run(task: Task, done: Done): void {
    const { command, row } = task;
    let rest: Promise<void> | undefined;
    try {
      rest = row.body.finish?.(task);
    } catch (e) {
      this.#fail(command, e);
      done(command);
      return;
    }
    if (rest === undefined) {
      good(command);
      done(command);
      return;
    }
    this.#underWay.set(task, rest);
    this.settle(command, rest, (ended) => {
      this.#underWay.delete(task);
      done(ended);
    });
  }
}

/** A command whose handler did not end it otherwise is GOOD. */
function good(command: ScsiCommand): void {
  if (command.phase === Phase.DONE) return;
  command.phase = Phase.DONE;
  command.status = Status.GOOD;
}
