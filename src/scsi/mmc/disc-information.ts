import type { CommandBody } from '../table.ts';

/** READ DISC INFORMATION (MMC-6 §6.22): finalized, one session, one track. */
export const readDiscInformation: CommandBody = {
  begin(task) {
    const data = Buffer.alloc(34);
    data.writeUInt16BE(data.length - 2, 0);
    // Last session complete, disc finalized.
    data[2] = 0x0e;
    data.set([1, 1, 1, 1], 3);
    // Type CD-ROM; no last session to append to.
    data[8] = 0x00;
    data.fill(0xff, 16, 24);
    task.reply(data);
  },
};
