export { checkQcow2, checkQcow2On } from './check.ts';
export { createQcow2 } from './create.ts';
export { Qcow2Device } from './device.ts';
export type { ImageFile } from './image-file.ts';
export { readQcow2Info } from './info.ts';
export { openQcow2, openQcow2On } from './open.ts';
export type {
  Qcow2Backing,
  Qcow2CheckOptions,
  Qcow2CreateOptions,
  Qcow2Info,
  Qcow2Options,
  Qcow2Report,
  Qcow2Snapshot,
} from './types.ts';
