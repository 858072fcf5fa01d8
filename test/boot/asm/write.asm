; MBR boot code: writes "DRIVE nn WROTE IT" to sector 10 of the first track (LBA 9) of each hard disk
; and says so on the serial port; ends with the first drive that is not there.
        bits 16
        org 0x7c00

BUFFER  equ 0x8000

start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, start
        cld
        mov bl, 0x80

next:   mov si, mark            ; the sector: the mark, then zeros
        mov di, BUFFER
        mov cx, mark_end - mark
        rep movsb
        mov cx, 512 - (mark_end - mark)
        xor al, al
        rep stosb
        mov al, bl              ; 0x80 … 0x87: the second digit is all that changes
        add al, '0' - 0x80
        mov [BUFFER + 7], al
        mov [t_wrote + 7], al
        mov [t_none + 10], al

        push bx
        mov dl, bl
        mov ax, 0x0301          ; write one sector
        mov bx, BUFFER
        mov cx, 0x000a          ; cylinder 0, sector 10
        xor dh, dh
        int 0x13
        pop bx
        jc none
        mov si, t_wrote
        call text
        inc bl
        jmp next

none:   mov si, t_none
        call text
.halt:  hlt
        jmp .halt

text:   lodsb
        test al, al
        jz .end
        mov ah, al
        mov dx, 0x3fd
.wait:  in al, dx
        test al, 0x20
        jz .wait
        mov al, ah
        mov dx, 0x3f8
        out dx, al
        jmp text
.end:   ret

mark    db 'DRIVE 8? WROTE IT'
mark_end:
t_wrote db 'WROTE 8?', 13, 10, 0
t_none  db 'NO DRIVE 8?', 13, 10, 0

%if ($ - $$) > 440
%error the boot code runs into the partition table
%endif
