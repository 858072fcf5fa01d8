import { EnvironmentError, messageOf } from '#base/mod.ts';
import type { ResponsePlan } from './respond.ts';
import type { OpenFile } from './server-files.ts';
import type { SendBody } from './server-sender.ts';
import type { ByteSource } from './types.ts';

/** The planned part of a file. */
export function fileBody(file: OpenFile, plan: ResponsePlan): SendBody {
  return {
    kind: 'reader',
    startBytes: plan.startBytes,
    lengthBytes: plan.lengthBytes,
    direct: file,
    read: (into, at, length, position, done) => file.read(into, at, length, position, done),
  };
}

/** The planned part of a source. */
export function sourceBody(source: ByteSource, plan: ResponsePlan): SendBody {
  return {
    kind: 'reader',
    startBytes: plan.startBytes,
    lengthBytes: plan.lengthBytes,
    read(into, at, length, position, done) {
      source.read(into.subarray(at, at + length), position).then(
        (bytes) => {
          done(null, Math.min(bytes, length));
        },
        (error: unknown) => {
          done(
            error instanceof Error
              ? error
              : new EnvironmentError('read-failed', { what: messageOf(error) }),
            0,
          );
        },
      );
      return undefined;
    },
  };
}
