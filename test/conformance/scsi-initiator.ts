import type { BlockDevice } from '#block/mod.ts';
import { Phase, ScsiCommand } from '#scsi/mod.ts';
import type { Nexus, ScsiTarget } from '#scsi/mod.ts';

/** How a command ended. */
export type Ended = {
  readonly status: number;
  readonly data: Buffer;
  /** Sense key, additional code and qualifier as `5/24/00`; empty without sense data. */
  readonly sense: string;
  readonly raw: Buffer;
};

/** Hex digits, blanks allowed, as bytes. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

/** The sense code of fixed or descriptor sense data. */
export function senseText(raw: Uint8Array | null): string {
  if (raw === null) return '';
  const descriptor = ((raw[0] ?? 0) & 0x7e) === 0x72;
  const [key, asc, ascq] = descriptor ? [raw[1], raw[2], raw[3]] : [raw[2], raw[12], raw[13]];
  const two = (n: number | undefined): string => (n ?? 0).toString(16).padStart(2, '0');
  return `${((key ?? 0) & 0x0f).toString(16)}/${two(asc)}/${two(ascq)}`;
}

/** An initiator without a network: what a transport does, as simply as it can be done. */
export class Initiator implements Nexus {
  readonly initiatorName: string;
  readonly initiatorPort: string;
  readonly targetPort: number;
  readonly #target: ScsiTarget;

  /** Logs in, and clears the unit attention that says so. */
  constructor(target: ScsiTarget, name = 'iqn.2026-11.org.polyboot:one', targetPort = 1) {
    this.#target = target;
    this.initiatorName = name;
    this.initiatorPort = `${name},i,0x00023d000001`;
    this.targetPort = targetPort;
    this.login();
  }

  login(): void {
    this.#target.nexusAdded(this);
    this.#target.begin(this.#fill(Buffer.alloc(6), 0, 0, 0));
  }

  logout(): void {
    this.#target.nexusRemoved(this);
  }

  /** Runs one command; `out` is all the data there is, `expectedIn` what fits. */
  async run(
    cdb: Uint8Array,
    options: {
      readonly lun?: number;
      readonly out?: Uint8Array;
      readonly expectedIn?: number;
      /** Bytes per write or read call, as a transport's PDUs would cut it. */
      readonly piece?: number;
    } = {},
  ): Promise<Ended> {
    const out = options.out ?? Buffer.alloc(0);
    const command = this.#fill(cdb, options.lun ?? 0, options.expectedIn ?? 2 ** 31, out.length);
    this.#target.begin(command);
    const piece = options.piece ?? 64 * 1024;
    let data = Buffer.alloc(0);
    switch (command.phase) {
      case Phase.DONE:
        return this.#ended(command, data);
      case Phase.READ:
        data = await this.#read(command, piece);
        if (command.phase === Phase.READ) {
          command.phase = Phase.DONE;
          command.status = 0;
        }
        return this.#ended(command, data);
      case Phase.WRITE:
        if (!(await this.#write(command, out, piece))) return this.#ended(command, data);
        break;
      case Phase.GATHER:
        command.dataOut = Buffer.concat([out, Buffer.alloc(command.transferBytes)]);
        break;
      case Phase.WAIT:
        break;
    }
    await new Promise((resolve) => {
      this.#target.finish(command, resolve);
    });
    return this.#ended(command, data);
  }

  #fill(cdb: Uint8Array, lun: number, expectedIn: number, expectedOut: number): ScsiCommand {
    const command = new ScsiCommand();
    command.cdb.set(cdb);
    command.cdbBytes = Math.max(cdb.length, 16);
    command.lun = lun;
    command.nexus = this;
    command.expectedInBytes = expectedIn;
    command.expectedOutBytes = expectedOut;
    return command;
  }

  async #read(command: ScsiCommand, piece: number): Promise<Buffer<ArrayBuffer>> {
    const data = Buffer.alloc(command.transferBytes);
    for (let at = 0; at < data.length; at += piece) {
      const length = Math.min(piece, data.length - at);
      const offset = command.extentOffsetBytes + at;
      const device = command.device as BlockDevice;
      const ok = await this.#move(command, (done) => {
        if (device.tryRead(offset, data, at, length)) done(null);
        else device.read(offset, data, at, length, done);
      });
      if (!ok) return Buffer.alloc(0);
    }
    return data;
  }

  async #write(command: ScsiCommand, out: Uint8Array, piece: number): Promise<boolean> {
    for (let at = 0; at < Math.min(out.length, command.transferBytes); at += piece) {
      const length = Math.min(piece, out.length - at, command.transferBytes - at);
      const offset = command.extentOffsetBytes + at;
      const device = command.device as BlockDevice;
      const ok = await this.#move(command, (done) => {
        if (device.tryWrite(offset, out, at, length)) done(null);
        else device.write(offset, out, at, length, done);
      });
      if (!ok) return false;
    }
    return true;
  }

  async #move(
    command: ScsiCommand,
    start: (done: (error: Error | null) => void) => void,
  ): Promise<boolean> {
    try {
      await new Promise<void>((resolve, reject) => {
        start((error) => {
          if (error === null) resolve();
          else reject(error);
        });
      });
      return true;
    } catch (e) {
      this.#target.fail(command, e);
      return false;
    }
  }

  #ended(command: ScsiCommand, data: Buffer): Ended {
    const raw = command.sense === null ? Buffer.alloc(0) : Buffer.from(command.sense);
    return {
      status: command.status,
      data: command.dataIn === null ? data : Buffer.from(command.dataIn),
      sense: senseText(command.sense),
      raw,
    };
  }
}
