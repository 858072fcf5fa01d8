import type { Command } from '../command.ts';
import { apply } from './apply.ts';
import { demo } from './demo.ts';
import { doctor } from './doctor.ts';
import { dump } from './dump.ts';
import { exportFile } from './export.ts';
import { imageAdd } from './image-add.ts';
import { imageBuild } from './image-build.ts';
import { imageCheck, imageRepair } from './image-check.ts';
import { imageClone } from './image-clone.ts';
import { imageCreate } from './image-create.ts';
import { imageExport } from './image-export.ts';
import { imageHistory } from './image-history.ts';
import { imageImport } from './image-import.ts';
import { imageInspect } from './image-inspect.ts';
import { imageDiscard, imageKeep } from './image-keep.ts';
import { imageList } from './image-list.ts';
import { imageOverlay } from './image-overlay.ts';
import { imageFreeze, imagePromote, imageRollback, imageSnapshot } from './image-points.ts';
import { imageRm } from './image-rm.ts';
import { imageFlatten, imageResize } from './image-shape.ts';
import { imageShow } from './image-show.ts';
import { imageUsage } from './image-usage.ts';
import { INSTALL_STEERING, installList } from './install-steer.ts';
import { install } from './install.ts';
import { machineAdd } from './machine-add.ts';
import { machineBoot } from './machine-boot.ts';
import { machineList } from './machine-list.ts';
import { machineRm } from './machine-rm.ts';
import { machineSet } from './machine-set.ts';
import { machineShow } from './machine-show.ts';
import { status } from './status.ts';
import { up } from './up.ts';
import { watch } from './watch.ts';

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  up,
  demo,
  doctor,
  exportFile,
  imageCreate,
  imageAdd,
  imageImport,
  imageBuild,
  imageList,
  imageShow,
  imageInspect,
  imageHistory,
  imageUsage,
  imageClone,
  imageExport,
  imageFreeze,
  imageOverlay,
  imagePromote,
  imageKeep,
  imageDiscard,
  imageSnapshot,
  imageRollback,
  imageFlatten,
  imageResize,
  imageCheck,
  imageRepair,
  imageRm,
  install,
  ...INSTALL_STEERING,
  installList,
  machineAdd,
  machineList,
  machineShow,
  machineSet,
  machineBoot,
  machineRm,
  watch,
  apply,
  dump,
  status,
];

/** What the first words of two-word commands are about. */
export const GROUPS: Readonly<Record<string, string>> = {
  image: 'disks in the library: make, look at, copy, keep and return to states, remove',
  machine: 'computers: add, show, and say what they boot',
};
