# How every target of this project is built: warnings, sanitizers, and the folder's public name.

add_library(xenblk_flags INTERFACE)
target_compile_options(xenblk_flags INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor
  -Woverloaded-virtual -Wimplicit-fallthrough -Wcast-align -Wnull-dereference -Wundef
  -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports paths through inlined std::expected and std::string that cannot happen.
  target_compile_options(xenblk_flags INTERFACE -Wno-maybe-uninitialized -Wno-null-dereference
    -Wno-restrict -Wno-missing-field-initializers)
else()
  target_compile_options(xenblk_flags INTERFACE -Wno-missing-field-initializers
    -Wno-missing-designated-field-initializers)
endif()
if(XENBLK_SANITIZE)
  target_compile_options(xenblk_flags INTERFACE -fsanitize=${XENBLK_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(xenblk_flags INTERFACE -fsanitize=${XENBLK_SANITIZE})
  if(XENBLK_SANITIZE MATCHES "thread")
    # Fences are modelled only through the atomics around them; gcc warns about each.
    target_compile_options(xenblk_flags INTERFACE -Wno-tsan)
  endif()
else()
  # Assertions stay on in every build: they check our own mistakes, never a guest's input.
  target_compile_options(xenblk_flags INTERFACE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
endif()

# xenblk_library(NAME LINKS...): all .cpp files of the current folder (not of its subfolders).
function(xenblk_library name)
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC xenblk_flags ${ARGN})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE xenblk_flags ${ARGN})
    target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR})
  endif()
endfunction()

# xenblk_tests(NAME [LONG] [SHARDS N] LINKS...): one test program from all .cpp files of the current
# folder, tests and fixtures. With SHARDS, N processes share its test cases, so that a long program
# keeps more than one core busy; those and LONG ones start before the others, so that none is left
# alone at the end. Each process leaves a report of its cases in results/ of the build.
function(xenblk_tests name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "LONG" SHARDS "")
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE ${arg_UNPARSED_ARGUMENTS} xenblk_flags GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${XENBLK_TEST_OPTIONS})
  if(NOT arg_SHARDS)
    set(arg_SHARDS 1)
  endif()
  math(EXPR last "${arg_SHARDS} - 1")
  set(cost ${arg_SHARDS})
  if(arg_LONG)
    set(cost 2)
  endif()
  foreach(shard RANGE ${last})
    set(test ${name})
    if(shard GREATER 0)
      set(test ${name}_${shard})
    endif()
    add_test(NAME ${test} COMMAND ${name} --gtest_output=json:${CMAKE_BINARY_DIR}/results/${test}.json)
    set_tests_properties(${test} PROPERTIES TIMEOUT 900 COST ${cost}
      ENVIRONMENT "GTEST_TOTAL_SHARDS=${arg_SHARDS};GTEST_SHARD_INDEX=${shard}")
  endforeach()
endfunction()
