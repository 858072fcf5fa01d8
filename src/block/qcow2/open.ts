import { UserError } from '#base/mod.ts';
import type { BlockDevice, BlockDone } from '../device.ts';
import type { ImageFile } from './image-file.ts';
import type { Qcow2CheckOptions, Qcow2Options, Qcow2Report, Qcow2Snapshot } from './types.ts';

/** An open qcow2 image: a disk with internal snapshots. */
export interface Qcow2Device extends BlockDevice {
  /** Snapshots inside the file, oldest first. */
  snapshots(): readonly Qcow2Snapshot[];
  /** Takes a snapshot under a new ID: all or nothing, durable when it resolves. */
  createSnapshot(name: string): Promise<Qcow2Snapshot>;
  /** Makes the disk what it was at the snapshot `id`; its size too. */
  applySnapshot(id: string): Promise<void>;
  /** Forgets the snapshot `id` and frees what only it held. */
  deleteSnapshot(id: string): Promise<void>;
  grow(sizeBytes: number, done: BlockDone): void;
}

/** Opens the qcow2 image at `path`. Throws UserError or EnvironmentError. */
export function openQcow2(path: string, options: Qcow2Options = {}): Promise<Qcow2Device> {
  return Promise.reject(notYet(path, options));
}

/** Opens the image in `file`; `name` is for messages. Throws UserError or EnvironmentError. */
export function openQcow2On(
  file: ImageFile,
  name: string,
  options: Qcow2Options = {},
): Promise<Qcow2Device> {
  return Promise.reject(notYet(`${name} (${file.sizeBytes})`, options));
}

/** Checks the image at `path`. Throws UserError or EnvironmentError. */
export function checkQcow2(path: string, options: Qcow2CheckOptions = {}): Promise<Qcow2Report> {
  return Promise.reject(notYet(path, options));
}

function notYet(path: string, options: object): UserError {
  const what = `the qcow2 image "${path}" cannot be opened`;
  const why = `this version makes and inspects such images only (${Object.keys(options).length})`;
  return new UserError('unsupported', 'qcow2-unsupported', { what, why });
}
