; MBR boot code: writes a number to a sector of the boot drive, says so on the serial port, and goes on
; with the next number and the next sector (2 to 63 of the first track) for ever:
;
;   W 00041      the write of 41 was answered as done
;   E 00042 80   it was answered as failed, status 80; the same number is tried again
        bits 16
        org 0x7c00

BUFFER  equ 0x8000

start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, start
        cld
        mov [drive], dl
        mov di, BUFFER
        mov cx, 256
        rep stosw

next:   mov di, digits + 4      ; count up, in decimal
.carry: inc byte [di]
        cmp byte [di], '9' + 1
        jb .counted
        mov byte [di], '0'
        dec di
        jmp .carry
.counted:
        mov al, [sector]
        inc al
        cmp al, 64
        jb .set
        mov al, 2
.set:   mov [sector], al

again:  mov si, digits
        mov di, BUFFER
        mov cx, 5
        rep movsb
        mov ax, 0x0301
        mov bx, BUFFER
        xor ch, ch
        mov cl, [sector]
        xor dh, dh
        mov dl, [drive]
        int 0x13
        jc failed
        mov al, 'W'
        call put
        mov al, ' '
        call put
        mov si, digits
        call text
        jmp next

failed: push ax
        mov al, 'E'
        call put
        mov al, ' '
        call put
        mov si, digits
        call text_only
        mov al, ' '
        call put
        pop ax
        mov al, ah
        call hex
        mov si, line
        call text_only
        jmp again

text:   call text_only
        mov si, line
text_only:
        lodsb
        test al, al
        jz back
        call put
        jmp text_only

hex:    push ax
        shr al, 4
        call digit
        pop ax
        and al, 15
digit:  add al, '0'
        cmp al, '9'
        jbe put
        add al, 'a' - '9' - 1

put:    push dx
        mov ah, al
        mov dx, 0x3fd
.wait:  in al, dx
        test al, 0x20
        jz .wait
        mov al, ah
        mov dx, 0x3f8
        out dx, al
        pop dx
back:   ret

digits  db '00000', 0
line    db 13, 10, 0
sector  db 1
drive   db 0

%if ($ - $$) > 440
%error the boot code runs into the partition table
%endif
