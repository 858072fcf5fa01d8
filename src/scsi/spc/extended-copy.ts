import { readDevice, writeDevice } from '../device-io.ts';
import { u32 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import type { LogicalUnit } from '../unit.ts';
import { PIECE_BYTES } from '../limits.ts';
import { parseCopyList } from './copy-parameters.ts';
import type { CopyDevice, CopyList, CopySegment } from './copy-parameters.ts';
import { unitDesignators } from './designators.ts';

/** The unit that the command was sent to, as a segment names it (SPC-4 §6.6.5.2). */
const THIS_UNIT = 0xffff;

/**
 * EXTENDED COPY(LID1) (SPC-4 §6.6). A designator is looked up among the units of the target the
 * command came in by, which its initiator may use, and nowhere else: so no identifier can reach a
 * stranger's disk (CVE-2020-28374). Reservations and write protection of *both* units count.
 */
export const extendedCopy: CommandBody = {
  begin(task) {
    const length = u32(task.cdb, 10);
    if (length === 0) task.good();
    else task.gatherList(length, 10);
  },
  async finish(task) {
    const list = parseCopyList(Uint8Array.from(task.parameters));
    const results = task.unit.copyResults;
    let done = 0;
    try {
      const units = list.devices.map((d) => findUnit(task, d));
      for (const segment of list.segments) {
        await copySegment(task, units, segment);
        done += 1;
      }
      await flushAll(task, list, units);
    } catch (e) {
      if (!list.discardsResult) results.keep(task.nexus, list.id, { segments: done, failed: true });
      throw e;
    }
    if (!list.discardsResult) results.keep(task.nexus, list.id, { segments: done, failed: false });
  },
};

function aborted(): ScsiError {
  return ScsiError.check(Sense.COPY_TARGET_NOT_REACHABLE);
}

/** Undefined for a descriptor that names no unit of this target; only its use is an error. */
function findUnit(task: Task, device: CopyDevice): LogicalUnit | undefined {
  if (device.nul) return undefined;
  for (const lun of task.host.luns) {
    const unit = task.host.unitAt(lun);
    if (unit !== undefined && names(unit, device)) return unit;
  }
  return undefined;
}

/** Whether one of the unit's designators is the one given. */
function names(unit: LogicalUnit, device: CopyDevice): boolean {
  const all = unitDesignators(unit.identity);
  for (let at = 0; at < all.length;) {
    const length = all[at + 3] ?? 0;
    const value = all.subarray(at + 4, at + 4 + length);
    const same = (all[at] ?? 0) % 16 === device.codeSet && all[at + 1] === device.kind;
    if (same && value.equals(device.designator)) return true;
    at += 4 + length;
  }
  return false;
}

async function copySegment(
  task: Task,
  units: readonly (LogicalUnit | undefined)[],
  segment: CopySegment,
): Promise<void> {
  const source = segment.from === THIS_UNIT ? task.unit : units[segment.from];
  const target = segment.to === THIS_UNIT ? task.unit : units[segment.to];
  if (source === undefined || target === undefined) throw aborted();
  checkRights(task, source, target);
  const unitBytes = segment.countsDestination ? target.blockBytes : source.blockBytes;
  const lengthBytes = segment.blocks * unitBytes;
  const from = segment.fromLba * source.blockBytes;
  const to = segment.toLba * target.blockBytes;
  const whole = lengthBytes % source.blockBytes === 0 && lengthBytes % target.blockBytes === 0;
  const inside =
    from + lengthBytes <= source.blocks * source.blockBytes &&
    to + lengthBytes <= target.blocks * target.blockBytes;
  if (!whole || !inside) throw aborted();
  // From the end when the ranges overlap upwards, or the copy would read its own writes.
  const backwards = source === target && to > from;
  const pieces = Math.ceil(lengthBytes / PIECE_BYTES);
  for (let i = 0; i < pieces; i++) {
    const at = (backwards ? pieces - 1 - i : i) * PIECE_BYTES;
    await task.unit.pieces.use(lengthBytes - at, async (piece) => {
      task.checkpoint();
      await readDevice(source.reader, from + at, piece);
      await writeDevice(target.writer, to + at, piece);
    });
  }
}

/** The copy manager may do what the initiator itself could, no more. */
function checkRights(task: Task, source: LogicalUnit, target: LogicalUnit): void {
  const refused =
    source.reservations.conflicts(task.nexus, 'read') ||
    target.reservations.conflicts(task.nexus, 'write') ||
    !source.medium.ready ||
    !target.medium.ready ||
    target.readOnly ||
    target.modes.softwareWriteProtect;
  if (refused) throw aborted();
}

/** Where writes are not cached, the copied ones are not either. */
async function flushAll(
  task: Task,
  list: CopyList,
  units: readonly (LogicalUnit | undefined)[],
): Promise<void> {
  const written = list.segments.map((s) => (s.to === THIS_UNIT ? task.unit : units[s.to]));
  for (const unit of new Set(written)) if (unit?.writeThrough === true) await unit.flush();
}
