;; ROT13 as a component in text, which needs no tool at all: cipherecho loads this file.
;;
;; Outside is what other tools write for you: the types of ../src/cipherecho_wasm/wit/cipher.wit,
;; each exported by its name, and the functions, lifted out of the core module.  Inside, the
;; core module sees only numbers and one memory.  How lists and records lie in that memory is
;; told by the Canonical ABI:
;; https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
(component
  (component $rot13
    ;; ROT13 remembers nothing, so all that a transform is is a handle, on the number 0.
    (type $a-transform (resource (rep i32)))
    (core func $new (canon resource.new $a-transform))

    (core module $code
      (import "transform" "new" (func $new (param i32) (result i32)))
      (memory (export "memory") 1)

      ;; What `describe` returns, from address 32: pointers, and sizes in bytes, of which two
      ;; are counts of what lies there.
      (data (i32.const 32)
        (i32 256 77)   ;; help
        (i32 0 0)      ;; no options
        (i32 64 2)     ;; vectors
        (i32 0))       ;; inverse: exact
      (data (i32.const 64)
        (i32 384 61)   ;; plaintext
        (i32 512 61)   ;; ciphertext
        (i32 640 66)   ;; source
        (i32 0 0)      ;; options, none as well
        (i32 768 10)
        (i32 784 10)
        (i32 800 34)
        (i32 0 0))
      (data (i32.const 256)
        "Moves every letter 13 places along the alphabet of 26; twice is the original.")
      (data (i32.const 384) "Why did the chicken cross the road?\nTo get to the other side!")
      (data (i32.const 512) "Jul qvq gur puvpxra pebff gur ebnq?\nGb trg gb gur bgure fvqr!")
      (data (i32.const 640)
        "Wikipedia, «ROT13», the joke under «Description», read in 2024")
      (data (i32.const 768) "Größe 7!")
      (data (i32.const 784) "Teößr 7!")
      (data (i32.const 800) "the wire contract, rule 3 of lines")

      (func (export "describe") (result i32)
        (i32.const 32))

      ;; An arena: `realloc` is how the host gets room for what it passes, one piece after the
      ;; other, and when it has read the result, all is free again.
      (global $arena i32 (i32.const 1024))
      (global $top (mut i32) (i32.const 1024))

      (func $allocate (param $size i32) (result i32)
        (local $at i32) (local $pages i32)
        (local.set $at (global.get $top))
        (global.set $top (i32.add (local.get $at) (local.get $size)))
        (local.set $pages ;; that are missing, with 16 bytes to spare
          (i32.sub
            (i32.shr_u (i32.add (global.get $top) (i32.const 65551)) (i32.const 16))
            (memory.size)))
        (if (i32.gt_s (local.get $pages) (i32.const 0))
          (then
            (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1))
              (then unreachable))))
        (local.get $at))

      ;; The old piece never matters: only strings are made larger, and ROT13 is passed none.
      ;; Nor does the alignment: a list, to lie at a multiple of four, comes before what is in
      ;; it, which is bytes.
      (func (export "realloc") (param $old i32) (param $had i32) (param $align i32)
                               (param $size i32) (result i32)
        (call $allocate (local.get $size)))

      (func (export "free") (param $result i32)
        (global.set $top (global.get $arena)))

      ;; There are no options that could be bad: 0 says so, and then comes the handle.
      (func (export "start") (param $options i32) (param $count i32) (param $direction i32)
                             (result i32)
        (i32.store (i32.const 4) (call $new (i32.const 0)))
        (i32.const 0))

      (func (export "copy") (param $self i32) (result i32)
        (call $new (i32.const 0)))

      (func (export "code") (param $self i32) (param $lines i32) (param $count i32)
                            (result i32)
        (local $at i32) (local $end i32) (local $results i32)
        (local $bytes v128) (local $letters v128)

        ;; The bytes of the lines lie after the list of them, without gaps.  So they are coded
        ;; where they are, as though they were one, 16 in a step; what the last step takes too
        ;; much is nobody's.  A swizzle looks up 16 bytes in a table of 16, and is 0 outside.
        (local.set $end (i32.add (local.get $lines) (i32.shl (local.get $count) (i32.const 3))))
        (local.set $at (local.get $end))
        (loop $step
          (v128.store (local.get $at)
            (i8x16.add
              (i8x16.add
                (i8x16.swizzle
                  (v128.const i8x16 13 13 13 13 13 13 13 13 13 13 13 13 13 -13 -13 -13)
                  (local.tee $letters
                    (i8x16.sub
                      (v128.or
                        (local.tee $bytes (v128.load (local.get $at)))
                        (v128.const i32x4 0x20202020 0x20202020 0x20202020 0x20202020))
                      (v128.const i32x4 0x61616161 0x61616161 0x61616161 0x61616161)))) ;; a
                (i8x16.swizzle
                  (v128.const i8x16 -13 -13 -13 -13 -13 -13 -13 -13 -13 -13 0 0 0 0 0 0)
                  (i8x16.sub
                    (local.get $letters)
                    (v128.const i32x4 0x10101010 0x10101010 0x10101010 0x10101010))))
              (local.get $bytes)))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $step (i32.lt_u (local.get $at) (global.get $top))))

        ;; The results: for each line a 0, it has a code, and then what the list has of it.
        (global.set $top (i32.and (i32.add (global.get $top) (i32.const 3)) (i32.const -4)))
        (local.set $results (call $allocate (i32.mul (local.get $count) (i32.const 12))))
        (i32.store (i32.const 0) (local.get $results))
        (i32.store (i32.const 4) (local.get $count))
        (loop $line
          (if (i32.lt_u (local.get $lines) (local.get $end))
            (then
              (i32.store (local.get $results) (i32.const 0))
              (i64.store offset=4 align=4 (local.get $results)
                (i64.load align=4 (local.get $lines)))
              (local.set $results (i32.add (local.get $results) (i32.const 12)))
              (local.set $lines (i32.add (local.get $lines) (i32.const 8)))
              (br $line))))
        (i32.const 0)))

    (core instance $code
      (instantiate $code (with "transform" (instance (export "new" (func $new))))))
    (alias core export $code "memory" (core memory $memory))
    (alias core export $code "realloc" (core func $realloc))
    (alias core export $code "free" (core func $free))

    (export $transform "transform" (type $a-transform))
    (type $a-cipher-option (record
      (field "name" string) (field "takes" string)
      (field "default" (option string)) (field "help" string)))
    (export $cipher-option "cipher-option" (type $a-cipher-option))
    (type $a-vector (record
      (field "plaintext" string) (field "ciphertext" string)
      (field "source" string) (field "options" string)))
    (export $vector "vector" (type $a-vector))
    (type $a-inverse (enum "exact" "lossy" "none"))
    (export $inverse "inverse" (type $a-inverse))
    (type $a-description (record
      (field "help" string) (field "options" (list $cipher-option))
      (field "vectors" (list $vector)) (field "inverse" $inverse)))
    (export $description "description" (type $a-description))
    (type $a-direction (enum "encrypt" "decrypt"))
    (export $direction "direction" (type $a-direction))
    (type $a-bad-option (record (field "name" string) (field "expected" string)))
    (export $bad-option "bad-option" (type $a-bad-option))

    (func (export "describe") (result $description)
      (canon lift (core func $code "describe") (memory $memory)))
    (func (export "[static]transform.start")
      (param "options" (list (tuple string string))) (param "direction" $direction)
      (result (result (own $transform) (error $bad-option)))
      (canon lift (core func $code "start") (memory $memory) (realloc $realloc) (post-return $free)))
    (func (export "[method]transform.code")
      (param "self" (borrow $transform)) (param "lines" (list (list u8)))
      (result (list (result (list u8) (error string))))
      (canon lift (core func $code "code") (memory $memory) (realloc $realloc) (post-return $free)))
    (func (export "[method]transform.copy")
      (param "self" (borrow $transform)) (result (own $transform))
      (canon lift (core func $code "copy"))))

  (instance $cipher (instantiate $rot13))
  (export "cipherecho:plugin/cipher@1.0.0" (instance $cipher)))
