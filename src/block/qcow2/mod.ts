export { createQcow2 } from './create.ts';
export type { ImageFile } from './image-file.ts';
export { readQcow2Info } from './info.ts';
export type {
  Qcow2Backing,
  Qcow2CheckOptions,
  Qcow2CreateOptions,
  Qcow2Info,
  Qcow2Options,
  Qcow2Report,
  Qcow2Snapshot,
} from './types.ts';
export { checkQcow2, openQcow2, openQcow2On } from './open.ts';
export type { Qcow2Device } from './open.ts';
