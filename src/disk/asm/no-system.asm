; Boot sector code of an empty FAT partition: says that there is no system yet and waits for a key,
; then lets the BIOS try again (INT 19h). Runs from any offset: FAT12/16 put it at 62, FAT32 at 90.
; At most 420 bytes.
bits 16
cpu 8086

start:
        cli
        xor ax, ax
        mov ss, ax
        mov sp, 0x7c00
        sti
        cld
        push cs
        pop ds
        call .here
.here:  pop si
        add si, message - .here
.next:  lodsb
        or al, al
        jz .wait
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        jmp .next
.wait:  xor ah, ah
        int 0x16
        int 0x19
        jmp .wait

message db 13, 10, "This disk has no operating system yet.", 13, 10
        db "It came over the network from Polyboot and is ready for use: attach it to a", 13, 10
        db "machine that has a system, or install one (FORMAT and SYS keep its layout).", 13, 10
        db "Press a key to try again.", 13, 10, 0

%if ($ - $$) > 420
%error too long for a FAT32 boot sector
%endif
