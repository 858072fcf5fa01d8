import type { BlockDevice } from '#block/mod.ts';
import { u16, u8 } from '../bytes.ts';
import { discardDevice, writeDevice } from '../device-io.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import type { LogicalUnit } from '../unit.ts';

const IMMED = 0x80;
/** Allow unrestricted sanitize exit. */
const AUSE = 0x20;
/** OVERWRITE's parameter list (SBC-3 table 115): flags, reserved, pattern length, pattern. */
const HEADER_BYTES = 4;
const INVERT = 0x80;
const TEST = 0x60;
const OVERWRITE_COUNT = 0x1f;
const WRITE_BYTES = 1024 * 1024;
/** Between two looks at the progress; a hole of this size is made in milliseconds. */
const ERASE_BYTES = 1024 * 1024 * 1024;

/** What one kind of SANITIZE does to the unit's device. */
type Work = (unit: LogicalUnit, device: BlockDevice) => Promise<void>;

/**
 * SANITIZE (SBC-3 §5.27): once begun it goes on whatever happens to the command, the nexus or the
 * unit; meanwhile the medium is not ready, and says how far it is. Writes that are under way end
 * first, and those whose data comes later are refused: nothing is written behind its back.
 */
function sanitizer(check: (task: Task) => void, work: (task: Task) => Work): CommandBody {
  return {
    begin(task) {
      // After a failure only another SANITIZE is taken.
      if (!task.unit.medium.sanitizeFailed) task.unit.checkReady();
      check(task);
      if (u16(task.cdb, 7) > 0) task.gatherList(u16(task.cdb, 7), 7);
      else task.wait();
    },
    finish(task) {
      const running = run(task.unit, work(task), (u8(task.cdb, 1) & AUSE) !== 0);
      // Where nobody waits, a failure shows in the state of the medium.
      running.catch(() => undefined);
      if ((u8(task.cdb, 1) & IMMED) !== 0) return undefined;
      const abandoned = new Promise<void>((resolve) => {
        task.abandoned = resolve;
      });
      return Promise.race([running, abandoned]);
    },
  };
}

async function run(unit: LogicalUnit, work: Work, mayExitUnsanitized: boolean): Promise<void> {
  unit.medium.sanitizeFailed = false;
  unit.medium.sanitizeMayExit = mayExitUnsanitized;
  progress(unit, 0);
  try {
    await unit.gate.fence('refuse', async (device) => {
      await work(unit, device);
      await unit.flush(device);
    });
  } catch (e) {
    unit.medium.sanitizeFailed = true;
    throw e;
  } finally {
    progress(unit, null);
  }
}

function progress(unit: LogicalUnit, done: number | null): void {
  unit.medium.sanitizeProgress = done;
  unit.update();
}

function refuseParameters(task: Task): void {
  if (u16(task.cdb, 7) !== 0) throw ScsiError.invalidField(7);
}

/** BLOCK ERASE: all blocks are unmapped, and read as zeros. */
export const sanitizeBlockErase: CommandBody = sanitizer(
  refuseParameters,
  () => async (unit, device) => {
    const size = unit.blocks * unit.blockBytes;
    for (let at = 0; at < size; at += ERASE_BYTES) {
      await discardDevice(device, at, Math.min(ERASE_BYTES, size - at));
      progress(unit, at / size);
    }
  },
);

/** CRYPTOGRAPHIC ERASE: the key is replaced; what was written reads as noise. */
export const sanitizeCryptoErase: CommandBody = sanitizer(
  refuseParameters,
  () => (_unit, device) =>
    new Promise((resolve, reject) => {
      if (device.cryptoErase === undefined) throw ScsiError.invalidField(1, 4);
      device.cryptoErase((error) => {
        if (error === null) resolve();
        else reject(error);
      });
    }),
);

/** OVERWRITE: all blocks get the pattern, as often as asked. */
export const sanitizeOverwrite: CommandBody = sanitizer(
  (task) => {
    const length = u16(task.cdb, 7);
    const { blockBytes } = task.unit;
    if (length <= HEADER_BYTES || length > HEADER_BYTES + blockBytes) {
      throw ScsiError.invalidField(7);
    }
  },
  (task) => {
    const list = Buffer.from(task.parameters);
    const { blockBytes } = task.unit;
    const flags = u8(list, 0);
    const count = flags & OVERWRITE_COUNT;
    const patternBytes = u16(list, 2);
    if ((flags & TEST) !== 0) throw ScsiError.invalidParameter(0, 6);
    if (count === 0) throw ScsiError.invalidParameter(0, 4);
    if (u8(list, 1) !== 0) throw ScsiError.invalidParameter(1);
    const fits =
      patternBytes > 0 && patternBytes <= Math.min(blockBytes, list.length - HEADER_BYTES);
    if (!fits) throw ScsiError.invalidParameter(2);
    const pattern = list.subarray(HEADER_BYTES, HEADER_BYTES + patternBytes);
    // Every block begins with the pattern anew.
    const block = Buffer.alloc(blockBytes, pattern);
    return (unit, device) => overwrite(unit, device, block, count, (flags & INVERT) !== 0);
  },
);

async function overwrite(
  unit: LogicalUnit,
  device: BlockDevice,
  block: Buffer,
  passes: number,
  invert: boolean,
): Promise<void> {
  const size = unit.blocks * unit.blockBytes;
  const piece = Buffer.alloc(Math.min(WRITE_BYTES, size), block);
  for (let pass = 0; pass < passes; pass++) {
    for (let at = 0; at < size; at += piece.length) {
      await writeDevice(device, at, piece.subarray(0, Math.min(piece.length, size - at)));
      progress(unit, (pass + at / size) / passes);
    }
    await unit.flush(device);
    if (invert) for (let i = 0; i < piece.length; i++) piece[i] = 0xff ^ (piece[i] ?? 0);
  }
}

/** EXIT FAILURE MODE (SBC-3 §5.27.2.5): a failure with AUSE may be left behind, others not. */
export const sanitizeExitFailureMode: CommandBody = {
  begin(task) {
    refuseParameters(task);
    const { medium } = task.unit;
    if (medium.sanitizeFailed && !medium.sanitizeMayExit) throw ScsiError.invalidField(1, 4);
    medium.sanitizeFailed = false;
    task.unit.update();
    task.good();
  },
};
