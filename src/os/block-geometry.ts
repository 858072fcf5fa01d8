import { bindCall, check } from './libc.ts';

/** The size and block sizes of a block device (linux/fs.h ioctls). */
export type BlockGeometry = {
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
};

// _IOR(0x12, 114, size_t) carries the size in its number; the two others are plain _IO.
const BLKGETSIZE64 = 0x80081272;
const BLKSSZGET = 0x1268;
const BLKPBSZGET = 0x127b;

const ioctl = bindCall('int ioctl(int fd, unsigned long request, void *argument)');

/** Asks a block device for its geometry. Throws EnvironmentError `ENOTTY` for a regular file. */
export function blockDeviceGeometry(fd: number): BlockGeometry {
  const answer = new Uint8Array(8);
  const view = new DataView(answer.buffer);
  const ask = (request: number): void => {
    answer.fill(0);
    check(
      ioctl()(fd, request, answer),
      'this is not a block device',
      'name a device such as /dev/zvol/…',
    );
  };
  ask(BLKGETSIZE64);
  const sizeBytes = Number(view.getBigUint64(0, true));
  ask(BLKSSZGET);
  const logicalBlockBytes = view.getInt32(0, true);
  ask(BLKPBSZGET);
  return { sizeBytes, logicalBlockBytes, physicalBlockBytes: view.getUint32(0, true) };
}
