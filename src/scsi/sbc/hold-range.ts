import type { BlockDevice } from '#block/mod.ts';
import type { Task } from '../task.ts';

/** Does `work` while no one else can write to the task's blocks. Rejects as `work` does. */
export function holdRange(task: Task, work: (device: BlockDevice) => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    task.unit.writer.exclusive(task.offsetBytes, task.lengthBytes, (device, release) => {
      work(device).then(
        () => {
          release();
          resolve();
        },
        (e: unknown) => {
          release();
          reject(e);
        },
      );
    });
  });
}
