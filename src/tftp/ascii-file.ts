import { EnvironmentError } from '#base/mod.ts';
import { memoryFile, type TftpFile } from './file.ts';
import { toNetascii } from './netascii.ts';
import { descriptorReader } from './reader.ts';

/** A netascii file is converted in memory; it is text. */
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * The same file as netascii, so that its size and blocks are those of the wire. Closes the one
 * given. Throws EnvironmentError `netascii-too-large` above 16 MiB.
 */
export async function asNetascii(file: TftpFile): Promise<TftpFile> {
  try {
    if (file.sizeBytes > MOST_BYTES) {
      throw new EnvironmentError('netascii-too-large', {
        what: 'the file is too large for netascii',
        why: 'that mode is for text, and is converted in memory',
        todo: 'ask for it in octet (binary) mode',
      });
    }
    if ('content' in file) return memoryFile(toNetascii(file.content));
    const bytes = new Uint8Array(file.sizeBytes);
    const got = await descriptorReader(file.fd, file.sizeBytes).read(bytes, 0, bytes.length, 0);
    return memoryFile(toNetascii(bytes.subarray(0, got)));
  } finally {
    file.close();
  }
}
