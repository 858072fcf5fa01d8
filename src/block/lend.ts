/** A device whose resident blocks can be sent straight from the page cache. */
export interface LendingDevice {
  /**
   * The address of a range for the kernel to read from, or 0: not now, read it. Good until the
   * event loop turns, and only as an argument of system calls (`LentMessage`). Never blocks or
   * throws. A filter passes it on only where it changes nothing about the data.
   */
  lend(offsetBytes: number, lengthBytes: number): number;
  /**
   * The same for the kernel to write to. Only blocks that are resident: nothing is allocated, and a
   * system call that cannot write says so (EFAULT); then `tryWrite` finds the reason.
   */
  lendForWriting?(offsetBytes: number, lengthBytes: number): number;
}

/** `lend` of any device: 0 where it cannot. */
export function lendFrom(device: object, offsetBytes: number, lengthBytes: number): number {
  const { lend } = device as Partial<LendingDevice>;
  return lend === undefined ? 0 : lend.call(device, offsetBytes, lengthBytes);
}

/** `lendForWriting` of any device: 0 where it cannot. */
export function lendForWritingFrom(
  device: object,
  offsetBytes: number,
  lengthBytes: number,
): number {
  const { lendForWriting } = device as Partial<LendingDevice>;
  return lendForWriting === undefined ? 0 : lendForWriting.call(device, offsetBytes, lengthBytes);
}
