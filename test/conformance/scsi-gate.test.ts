import { MemoryDevice } from '#block/mod.ts';
import { GateDevice } from '#scsi/gate-device.ts';
import { blockDeviceSuite } from './block-device.ts';

blockDeviceSuite('a gate before memory', () =>
  Promise.resolve({
    device: new GateDevice(new MemoryDevice({ sizeBytes: 8 * 1024 * 1024 })),
    cleanUp: () => Promise.resolve(),
  }),
);
