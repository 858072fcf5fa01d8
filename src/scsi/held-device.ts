import { FilterDevice } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import type { GateDevice } from './gate-device.ts';

/**
 * The device of a command that came while the gate was shut: its operations wait under the
 * command's name, so that they can be given up when the command is aborted.
 */
export class HeldDevice extends FilterDevice {
  readonly #gate: GateDevice;
  readonly #owner: object;

  constructor(inner: BlockDevice, gate: GateDevice, owner: object) {
    super(inner);
    this.#gate = gate;
    this.#owner = owner;
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#gate.whenOpen(this.#owner, (error) => {
      if (error === null) this.inner.read(offset, into, at, lengthBytes, done);
      else done(error);
    });
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#gate.whenOpen(this.#owner, (error) => {
      if (error === null) this.inner.write(offset, from, at, lengthBytes, done);
      else done(error);
    });
  }
}
